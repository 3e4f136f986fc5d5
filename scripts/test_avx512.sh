#!/usr/bin/env bash
# Runs the kernel tests on a CPU with AVX-512: this one, or an emulated Skylake-X under Bochs.
#
# QEMU does not emulate AVX-512; Bochs does, but emulates a whole machine: Debian's kernel boots from a
# CD with the statically linked test program as its first process, and the serial port is a file.
# Filters and options for the test program are passed on: scripts/test_avx512.sh gemm
set -euo pipefail

cd "$(dirname "$0")/.."
if grep -q avx512vl /proc/cpuinfo && grep -q avx512dq /proc/cpuinfo; then
    POCKET_SIMD=avx512 exec cargo test --locked -p pocket-kernels --lib "$@"
fi
scripts/debian_packages.sh bochs bochsbios vgabios genisoimage isolinux syslinux-common busybox-static
limit_s=${POCKET_EMULATION_LIMIT_S:-1800}
work=$(realpath -m "${CARGO_TARGET_DIR:-target}/avx512")
mkdir -p "$work/root" "$work/cd/isolinux"

# The kernel is unpacked, not installed.
if ! compgen -G "$work/kernel/boot/vmlinuz-*" >/dev/null; then
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
    (cd "$work" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb kernel)
fi
cp "$work"/kernel/boot/vmlinuz-* "$work/cd/vmlinuz"

# Optimised: emulation is slow enough.
tests=$(CARGO_TARGET_DIR=$work RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_LTO=off \
    cargo test --locked --release -p pocket-kernels --lib --no-run --target x86_64-unknown-linux-gnu \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
cp "$tests" "$work/root/tests"
cp /bin/busybox "$work/root/busybox"
cat >"$work/root/init" <<INIT
#!/busybox sh
/busybox mkdir /proc
/busybox mount -t proc proc /proc
# Only this level: the narrower ones run natively.
POCKET_SIMD=avx512 /tests --nocapture --test-threads 1 $*
echo "tests ended: \$?"
# The end of the first process would be a panic.
exec /busybox sleep 1000000
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | ./busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/cd/initrd.gz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/cd/isolinux/"
# noxsaves and clearcpuid=321,323 (xsavec, xsaves): Bochs 2.7 reports the uncompacted size for them, and
# Linux then gives up every extended state.
cat >"$work/cd/isolinux/isolinux.cfg" <<'CONFIG'
default tests
label tests
  kernel /vmlinuz
  append initrd=/initrd.gz rdinit=/init console=ttyS0 quiet mitigations=off nokaslr noxsaves clearcpuid=321,323 tsc=unstable lpj=1000000
CONFIG
genisoimage -quiet -o "$work/cd.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/cd"
cat >"$work/bochsrc" <<CONFIG
cpu: model=corei7_skylake_x, count=1, ips=200000000
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$work/cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial.txt
display_library: rfb, options="timeout=0"
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
clock: sync=none
CONFIG

rm -f "$work/serial.txt"
# Debian's Bochs waits in its debugger for "continue".
setsid bochs -q -f "$work/bochsrc" <<<c >"$work/bochs.out" 2>&1 &
emulator=$!
# It does not end at SIGTERM.
trap 'kill -KILL -- -$emulator 2>/dev/null || true' EXIT
begin=$SECONDS
until grep -qs '^tests ended' "$work/serial.txt"; do
    sleep 2
    if ! kill -0 $emulator 2>/dev/null; then
        status=0
        wait $emulator || status=$?
        tail -n 5 "$work/bochs.out" "$work/serial.txt" >&2
        echo "the emulator ended with status $status before the tests did; its files are in $work" >&2
        exit 1
    fi
    if ((SECONDS - begin > limit_s)); then
        echo "the tests took longer than $limit_s s; the emulator's files are in $work" >&2
        exit 1
    fi
done
tr -d '\r' <"$work/serial.txt"
echo "emulated for $((SECONDS - begin)) s"
grep -q '^tests ended: 0' "$work/serial.txt"
