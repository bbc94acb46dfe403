# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is to its host: a unit, limits, and what the host must have before it can be one."""
