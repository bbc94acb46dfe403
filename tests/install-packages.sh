#!/bin/sh
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Usage: install-packages.sh FILE
# Installs the Debian packages that FILE lists and this machine lacks. Their services are not started: while apt-get
# runs, a policy-rc.d refuses that, and what stood in its place is put back afterwards, also after a failure. Nor does
# the next boot start them: what the installation has enabled is disabled again.

set -eu

wanted=$(sed 's/#.*//' "$1")
missing=
for package in $wanted; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

policy=/usr/sbin/policy-rc.d
kept=$(mktemp -d)
enabled() {
    find /etc/systemd/system /etc/rc2.d -type l \( -path '*.wants/*' -o -path '*.requires/*' -o -path '/etc/rc2.d/S*' \) \
        2>/dev/null | sort
}
enabled >"$kept/before"
restore() {
    rm -f "$policy"
    if [ -e "$kept/policy" ] || [ -L "$kept/policy" ]; then
        mv "$kept/policy" "$policy"
    fi
    enabled | comm -13 "$kept/before" - | sed 's,.*/,,; s,^S[0-9][0-9],,' | sort -u |
        xargs --no-run-if-empty systemctl disable --no-reload --
    rm "$kept/before"
    rmdir "$kept"
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$kept/policy"
fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 0755 "$policy"

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # one word a package
apt-get install -q -y --no-install-recommends $missing
