#!/bin/sh
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Usage: importer.sh ARCHIVE
# Imports the archive as a Galaxy server would; errors and warnings fail.

set -eu

archive=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cat >"$work/config" <<'END'
[galaxy-importer]
CHECK_REQUIRED_TAGS = True
CHECK_CHANGELOG = True
CHECK_RUNTIME_YAML = True
RUN_ANSIBLE_DOC = True
RUN_ANSIBLE_LINT = True
RUN_ANSIBLE_TEST = False
RUN_FLAKE8 = False
REQUIRE_V1_OR_GREATER = False
END
export GALAXY_IMPORTER_CONFIG="$work/config"
unset ANSIBLE_COLLECTIONS_PATH ANSIBLE_CONFIG PYTHONPATH

status=0
(cd "$work" && python3 -m galaxy_importer.main "$archive") >"$work/log" 2>&1 || status=$?
if [ "$status" -ne 0 ] || grep -E '^(ERROR|WARNING|CRITICAL)|(ERROR|WARNING|CRITICAL):' "$work/log"; then
    cat "$work/log"
    exit 1
fi
