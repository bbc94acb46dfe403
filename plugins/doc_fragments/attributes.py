# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attributes that the modules of the collection document."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by the modules."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Says what would change, without changing anything.
    support: full
  diff_mode:
    description: Shows what changed, or would change, and nothing else.
    support: full
  idempotent:
    description: Asked for the same again, it changes nothing.
    support: full
  platform:
    description: Where it runs.
    platforms: linux
    support: full
requirements:
  - Linux 5.12 or newer with user namespaces and cgroup2
  - Python 3.8 or newer
  - root
"""
