#!/usr/bin/env bash
# Runs the kernel tests at every x86-64 level: on this CPU if it has them all, else on an emulated Sapphire
# Rapids (AVX-VNNI, AVX-512 with VNNI and BF16, AMX) under Bochs 3.0.
#
# QEMU emulates none of these; Bochs does, but emulates a whole machine: a Debian kernel boots from a CD with
# the statically linked test program as its first process, and the serial port is a file. The emulator, its
# libraries and the kernel are Debian packages of other releases, unpacked into the target folder, not
# installed.
# Filters and options for the test program are passed on: scripts/test_x86_levels.sh gemm
# LEVELS="amx avx512" runs these levels only.
set -euo pipefail

cd "$(dirname "$0")/.."
levels=${LEVELS:-amx avx512bf16 avx512vnni avx512 avx2vnni}
if grep -q '\bavx_vnni\b.*\bavx512_bf16\b.*\bavx512_vnni\b.*\bamx_bf16\b.*\bamx_int8\b' /proc/cpuinfo; then
    exec cargo test --locked -p pocket-kernels --lib "$@"
fi
scripts/debian_packages.sh genisoimage isolinux syslinux-common busybox-static
limit_s=${POCKET_EMULATION_LIMIT_S:-3600}
work=$(realpath -m "${CARGO_TARGET_DIR:-target}/x86-levels")
mkdir -p "$work/root" "$work/cd/isolinux"

# The mirror that this machine takes its own packages from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 -v security)

# apt_of RELEASE COMMAND...: apt-get or apt-cache for another release, which knows of no installed package.
apt_of() {
    local release=$1 program=$2 apt=$work/apt/$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    touch "$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" \
        >"$apt/sources.list"
    shift 2
    "$program" -qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
        -o APT::Architectures::=amd64 -o APT::Architecture=amd64 -o APT::Install-Recommends=false \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

emulator=$work/bochs
libraries=$emulator/usr/lib/x86_64-linux-gnu
if [ ! -e "$emulator/complete" ]; then
    apt_of trixie apt-get update
    apt_of trixie apt-get install -y --download-only bochs bochs-term >/dev/null
    for package in "$work"/apt/trixie/cache/archives/*.deb; do dpkg -x "$package" "$emulator"; done
    # Bochs 3.0 multiplies the bytes of TDPBSSD as if they had no sign: zero extensions and shifts become
    # signed ones. (3.1 has this right, but these kernels do not start in it.)
    python3 - "$emulator/usr/bin/bochs-bin" <<'PYTHON'
import pathlib, sys

path = pathlib.Path(sys.argv[1])
code = bytearray(path.read_bytes())
for at in (0x2743C0, 0x2743C3, 0x2743C7, 0x2743CA, 0x2743DF, 0x2743F3):  # movzbl, movsbl
    assert code[at - 1 : at + 1] == b"\x0f\xb6", "another build of Bochs than 3.0+dfsg-1"
    code[at] = 0xBE
for at, old, new in ((0x2743D4, 0xE9, 0xF9), (0x2743E8, 0xEA, 0xFA)):  # shr, sar
    assert code[at - 1 : at + 1] == bytes([0xC1, old]), "another build of Bochs than 3.0+dfsg-1"
    code[at] = new
path.write_bytes(code)
PYTHON
    touch "$emulator/complete"
fi

# One that takes `setcpuid`: AMX needs the feature XFD (324), which Bochs lacks; its registers are ignored.
kernel() { find "$work/kernel" -name 'vmlinuz*' 2>/dev/null | head -n 1; }
if [ -z "$(kernel)" ]; then
    apt_of sid apt-get update
    package=$(apt_of sid apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: linux-image-\([0-9]\)/linux-binary-\1/p')
    mkdir -p "$work/kernel"
    (cd "$work/kernel" && apt_of sid apt-get download "$package" && dpkg -x "$package"_*.deb .)
fi
cp "$(kernel)" "$work/cd/vmlinuz"

# Optimised: emulation is slow enough.
tests=$(CARGO_TARGET_DIR=$work RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_LTO=off \
    cargo test --locked --release -p pocket-kernels --lib --no-run --target x86_64-unknown-linux-gnu \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
cp "$tests" "$work/root/tests"
cp /bin/busybox "$work/root/busybox"
# Its libraries too: it is not linked statically.
chrt=$(command -v chrt)
ldd "$chrt" | grep -o '/[^ ]*' | xargs -I{} cp --dereference --parents {} "$work/root"
cp "$chrt" "$work/root/chrt"
cat >"$work/root/init" <<INIT
#!/busybox sh
/busybox mkdir /proc /tmp
/busybox mount -t proc proc /proc
# Only these levels: the others run natively.
status=0
# Without XFD the kernel does not know that a thread has begun to use tiles, and would not keep them for it: at
# this priority no thread gives way to another but where it waits, which is never while it uses tiles.
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
for level in $levels; do
    POCKET_SIMD=\$level /chrt -f 50 /tests --nocapture --test-threads 1 $* || status=1
    echo "level \$level ended, status so far: \$status"
done
echo "tests ended: \$status"
# The end of the first process would be a panic.
exec /busybox sleep 1000000
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | ./busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/cd/initrd.gz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/cd/isolinux/"
# acpi=off: ACPI is switched on in system management mode, which Bochs does not leave with this kernel.
# spectre_v2=retpoline: code that is replaced later would be run from Bochs's cache of decoded instructions.
cat >"$work/cd/isolinux/isolinux.cfg" <<'CONFIG'
default tests
label tests
  kernel /vmlinuz
  append initrd=/initrd.gz rdinit=/init console=ttyS0 quiet acpi=off setcpuid=324 mitigations=off spectre_v2=retpoline nokaslr tsc=unstable lpj=1000000
CONFIG
genisoimage -quiet -o "$work/cd.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/cd"
cat >"$work/bochsrc" <<CONFIG
cpu: model=sapphire_rapids, ignore_bad_msrs=1, count=1, ips=200000000
memory: guest=512, host=512
romimage: file=$emulator/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$emulator/usr/share/bochs/VGABIOS-lgpl-latest
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
# Debian's Bochs waits in its debugger for "continue". Its own loader: it is made for another C library.
LTDL_LIBRARY_PATH=$libraries/bochs/plugins setsid "$emulator/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" \
    "$emulator/usr/bin/bochs-bin" -q -f "$work/bochsrc" <<<c >"$work/bochs.out" 2>&1 &
process=$!
# It does not end at SIGTERM.
trap 'kill -KILL -- -$process 2>/dev/null || true' EXIT
begin=$SECONDS
until grep -qs '^tests ended' "$work/serial.txt"; do
    sleep 2
    if ! kill -0 $process 2>/dev/null; then
        status=0
        wait $process || status=$?
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
