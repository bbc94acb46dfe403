# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs: start, stop, switch, roll back, remove; and whether a container is well."""
