#!/bin/sh
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Usage: sanity.sh ARCHIVE CACHE
# Runs `ansible-test sanity`, with no ignore file, on the collection as a user installs it. CACHE keeps the virtual
# environments that ansible-test makes for its tests. It would download pip for them; Python's own copy serves instead.

set -eu

archive=$1
mkdir -p "$2"
HOME=$(cd "$2" && pwd)
export HOME
unset ANSIBLE_COLLECTIONS_PATH ANSIBLE_CONFIG PYTHONPATH

mkdir -p "$HOME/.ansible/test/cache"
for requirement in 20_3_4 21_3_1 24_2; do
    printf 'import ensurepip\n\nensurepip.bootstrap()\n' >"$HOME/.ansible/test/cache/get_pip_$requirement.py"
done

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$tree/ansible_collections/unshare/container"
tar -xzf "$archive" -C "$tree/ansible_collections/unshare/container"
cd "$tree/ansible_collections/unshare/container"

version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# pslint needs PowerShell, which the collection has nothing for.
if ! ansible-test sanity --color no --python "$version" --skip-test pslint >"$HOME/log" 2>&1; then
    sed -n -e '/^ERROR/p' -e '/^FATAL/,$p' "$HOME/log" | grep . || cat "$HOME/log"
    exit 1
fi
