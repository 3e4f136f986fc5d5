#!/usr/bin/env bash
# Builds the aarch64 wheel, installs it beside an aarch64 Python and runs it there: a model speaks, and
# the committed references of PyTorch are met. Under QEMU, unless the machine is one.
#
# The standard library is that of Debian's rustc-web, as in test_aarch64.sh; zig links. Python and its
# libraries are unpacked Debian packages: a whole system, so that the loader and libc are of one version.
set -euo pipefail

cd "$(dirname "$0")/.."
if [ "$(uname -m)" = aarch64 ]; then
    exec make test-python
fi
scripts/debian_packages.sh rustc-web libstd-rust-web-dev:arm64 qemu-user-static
target=aarch64-unknown-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/aarch64
RUSTC=/usr/bin/rustc scripts/wheel.sh $target

work=$(realpath -m "$CARGO_TARGET_DIR/python")
root=$work/root
if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    mkdir -p "$root" "$work/packages"
    mapfile -t packages < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances \
        python3-minimal:arm64 libpython3-stdlib:arm64 libstdc++6:arm64 |
        grep -E '^(lib|python3|zlib).*:arm64$' | sort -u)
    (cd "$work/packages" && apt-get -o APT::Sandbox::User=root download -qq "${packages[@]}")
    for package in "$work"/packages/*.deb; do dpkg -x "$package" "$root"; done
    rm -r "$work/packages"
    touch "$root/.complete"
fi
python=$(compgen -G "$root/usr/bin/python3.[0-9]*" | head -n 1)

# pip of this machine chooses the wheels that the emulated Python would.
site=$work/site
wheels=(dist/*-abi3-*aarch64.whl)
rm -rf "$site"
.venv/bin/python -m pip install --quiet --target "$site" --only-binary :all: --implementation cp \
    --python-version "${python##*python}" --platform manylinux_2_28_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 "${wheels[0]}" --group test

emulated() {
    # Under emulation a lock that never opens is likelier than anywhere else.
    PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1 timeout 1200 \
        qemu-aarch64-static -L "$root" "$python" "$@"
}
emulated scripts/smoke.py
emulated -m pytest -p no:cacheprovider tests/test_fixtures.py tests/test_simd_levels.py
