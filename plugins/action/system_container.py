# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin of system_container: it shows no value of the vault that a check of the container's health uses."""

from __future__ import annotations

from ansible_collections.unshare.container.plugins.plugin_utils.hiding_action import HidingAction


class ActionModule(HidingAction):
    """The plugin that runs the module of the same name."""

    MODULE = "unshare.container.system_container"
