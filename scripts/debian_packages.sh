#!/usr/bin/env bash
# Installs Debian packages that are missing: scripts/debian_packages.sh NAME...
# Does nothing if all are there; without root it says what to install.
set -euo pipefail

missing=()
for package in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing Debian packages; install them as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
for package in "${missing[@]}"; do
    case $package in *:arm64) dpkg --add-architecture arm64 ;; esac
done
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
