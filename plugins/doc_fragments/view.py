# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say what a single command sees of its host."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of namespaces, files and software."""

    DOCUMENTATION = r"""
options:
  namespaces:
    description:
      - The kinds of namespaces that the command has of its own. It shares the others with the host.
      - Without V(mnt) it sees the host's files, with the rights of its ids.
      - Only root can leave out V(user). The command is then root on the host, unless O(guest_uid) says otherwise.
      - Without V(net) it uses the host's network, and sees the host's C(/etc/resolv.conf), C(/etc/hosts) and the like.
    type: list
    elements: str
    choices: [cgroup, ipc, mnt, net, pid, user, uts]
    default: [cgroup, ipc, mnt, net, pid, user, uts]
  mappings:
    description:
      - Files and directories of the host that the command sees, each as a text C(SOURCE[=TARGET]) or as a mapping of
        C(source), C(target) (the same as the source by default) and C(writable) (V(false) by default).
      - A source that does not exist is an error.
      - When root runs the command and the file system can map ids, files of the source's owner look like the command's
        own, and files that the command makes there belong to the source's owner on the host.
    type: list
    elements: raw
  file_systems:
    description: New file systems that the command sees.
    type: list
    elements: dict
    suboptions:
      mount_point:
        description: Absolute path at which the command sees it.
        type: str
        required: true
      type:
        description: Its type.
        type: str
        choices: [tmpfs]
        default: tmpfs
      options:
        description: Its options, as for C(mount -o). Ids in it are those of the command.
        type: str
      flags:
        description: Among C(read-only), C(no-exec), C(no-atime), C(no-diratime), C(strict-atime).
        type: list
        elements: str
  files:
    description:
      - Files that are placed before the root becomes read-only, by their paths.
      - Each is a text, or a mapping of C(content), C(encoding) (V(base64) or nothing) and C(mode) (V("0644") by
        default), or a mapping of C(link), the target of a symbolic link.
      - C(/etc/passwd), C(/etc/group) and, with a network of its own, C(/etc/hosts) are made unless they are given.
    type: dict
  closure:
    description:
      - How the software that the command needs is found.
      - With V(store), all of O(store) is visible. For C(/usr) that includes C(/bin) and the like, and a short list of
        files of C(/etc) that hold no secret, such as C(/etc/alternatives) and C(/etc/ssl/certs).
      - With V(elf), only the program and the files that it names are visible, which are its libraries, its interpreter
        (also a script's), the modules that C(/etc/nsswitch.conf) names, and for Python the interpreter's own library.
      - With V(guix) or V(nix), all that C(guix gc --requisites) or C(nix-store --query --requisites) says is visible.
      - Files outside of the store are found as with V(elf).
    type: str
    choices: [store, elf, guix, nix]
    default: store
  store:
    description: The directory that O(closure=store) shows.
    type: str
    default: /usr
  inputs:
    description:
      - Further files and programs that the command needs, with their closures. A name without a slash is a program in
        the C(PATH).
      - A directory is shown whole.
      - The content of a file, such as the first line of a script, and the target of a link bring in only files that
        everybody on the host can read. Name other files here, by the paths that they really have.
    type: list
    elements: str
"""
