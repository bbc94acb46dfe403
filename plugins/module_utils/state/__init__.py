# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps of its containers: systems, generations, locks, what was noted of each start."""
