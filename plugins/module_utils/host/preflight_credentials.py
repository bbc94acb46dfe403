# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The credentials that a container gets from its host: which are missing, which cannot be read or decrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..launcher import credentials

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts


def unavailable(host: HostFacts, specification: Specification) -> tuple[list[str], list[str]]:
    """Return which credentials the host lacks, which an earlier task may make, and which cannot be used at all."""
    missing, wrong = [], []
    for credential in specification.credentials:
        if credential.source == "system":
            continue
        try:
            credentials.of_host(credential, str(host.root))
        except credentials.MissingCredential as error:
            missing.append(str(error))
        except credentials.NoCredential as error:
            wrong.append(str(error))
    return missing, wrong
