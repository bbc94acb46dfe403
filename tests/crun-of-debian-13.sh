#!/bin/sh
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Usage: crun-of-debian-13.sh DIRECTORY
# Makes DIRECTORY/bin/crun-13, the crun of Debian 13 with libraries of its own, which runs on other distributions, too.
# It needs mmdebstrap and patchelf. Where this is Debian 13 or where it cannot be made, it says so and makes nothing: the
# benchmarks measure what there is.

set -eu

directory=$1
[ ! -x "$directory/bin/crun-13" ] || exit 0
# shellcheck source=/dev/null
. /etc/os-release
if [ "$ID-${VERSION_ID:-}" = debian-13 ]; then
    echo "crun of Debian 13: is the host's own"
    exit 0
fi
rm -rf "$directory"
mkdir -p "$directory/bin"
if ! mmdebstrap --quiet --variant=extract --include=crun trixie "$directory/tree"; then
    echo "crun of Debian 13: cannot be fetched; left out" >&2
    exit 0
fi
tree=$(realpath "$directory/tree")
loader=$(find "$tree/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
libraries=$(dirname "$(find "$tree/usr/lib" -name 'libc.so.6' | head -n 1)")
cp "$tree/usr/bin/crun" "$directory/bin/crun"
patchelf --set-interpreter "$loader" --set-rpath "$libraries" --force-rpath "$directory/bin/crun"
if "$directory/bin/crun" --version; then
    mv "$directory/bin/crun" "$directory/bin/crun-13"
else
    echo "crun of Debian 13: does not run here; left out" >&2
fi
