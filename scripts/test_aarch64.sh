#!/usr/bin/env bash
# Runs the kernel tests as an aarch64 program: natively on such a machine, else under QEMU.
#
# Debian's rustc-web comes with an aarch64 standard library, so that no second toolchain is needed.
# The target directory is separate: two compilers would invalidate each other's files.
# Examples in the documentation are left to the native tests: Debian packages no rustdoc for it.
set -euo pipefail

if [ "$(uname -m)" = aarch64 ]; then
    exec cargo test --locked -p pocket-kernels --lib --tests "$@"
fi
scripts/debian_packages.sh rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu \
    libc6-dev-arm64-cross qemu-user-static

export RUSTC=/usr/bin/rustc
# No `-L /usr/aarch64-linux-gnu`: that loader and the libc6:arm64 that libstd-rust-web-dev:arm64 brings
# are of different versions, and a program with both hangs when it starts a thread.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/aarch64
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
# Under emulation a lock that never opens is likelier than anywhere else.
exec timeout 1800 cargo test --locked -p pocket-kernels --lib --tests --target aarch64-unknown-linux-gnu "$@"
