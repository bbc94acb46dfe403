# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single commands for the tests, run as root or as an ordinary user."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.unshare.container.plugins.module_utils.evaluation import run as evaluation
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import Request
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, linux, seccomp
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.modules.eval_container import ARGUMENT_SPEC

PYTHON = "/usr/bin/python3"
ORDINARY = 23456
"""An id that nobody of this machine has."""
PR_SET_DUMPABLE = 4


class Evaluator:
    """Runs commands as a user of the host.

    Attributes:
        uid: the user's id, 0 for root.
        workspace: a directory that belongs to the user.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.workspace = Path(os.path.realpath(tempfile.mkdtemp(prefix="test-eval-")))
        os.chown(self.workspace, uid, uid)

    def close(self) -> None:
        shutil.rmtree(self.workspace)

    def file(self, name: str, content: str = "", mode: int = 0o644) -> Path:
        """Write a file of the user's in the workspace, and return its path."""
        path = self.workspace / name
        path.write_text(content)
        path.chmod(mode)
        os.chown(path, self.uid, self.uid)
        return path

    def __call__(self, *argv: str, **given: t.Any) -> evaluation.Outcome:
        """Run a command with the module's parameters.

        Raises:
            LauncherError: it could not be started.
        """
        if argv:
            given["argv"] = list(argv)
        if "expression" in given:
            given.setdefault("executable", PYTHON)
        result = ArgumentSpecValidator(ARGUMENT_SPEC).validate(given)
        assert result.error_messages == []
        return self._run(result.validated_parameters) if self.uid == 0 else self._run_as_user(result)

    def value(self, expression: str, **given: t.Any) -> t.Any:
        """Return the value of a Python expression, in which `os` is imported."""
        outcome = self(expression=f"(lambda os: {expression})(__import__('os'))", **given)
        assert outcome.code == 0, outcome.error.decode()
        return json.loads(outcome.output)

    def text(self, shell: str, **given: t.Any) -> str:
        """Return what a shell text prints that must succeed."""
        outcome = self(cmd=shell, **given)
        assert outcome.code == 0, f"{outcome.code}: {outcome.error.decode()}"
        return outcome.output.decode().strip()

    def _run(self, parameters: dict[str, t.Any]) -> evaluation.Outcome:
        return evaluation.run(Request(parameters), self.requisites)

    def requisites(self, items: list[str]) -> list[str]:
        """Return what members of a package manager's store refer to."""
        return items

    def _run_as_user(self, result: t.Any) -> evaluation.Outcome:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            answer: t.Any = None
            try:
                os.close(read)
                os.setgroups([])
                os.setresgid(self.uid, self.uid, self.uid)
                os.setresuid(self.uid, self.uid, self.uid)
                linux.prctl(PR_SET_DUMPABLE, 1)
                answer = self._run(result.validated_parameters)
            except LauncherError as error:
                answer = error
            except BaseException as error:
                answer = RuntimeError(repr(error))
            finally:
                with open(write, "wb") as file:
                    file.write(pickle.dumps(answer))
                os._exit(0)
        os.close(write)
        with open(read, "rb") as file:
            answer = pickle.loads(file.read())
        os.waitpid(child, 0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, evaluation.Outcome)
        return answer


# Modules that Python would otherwise look for when the user cannot read where it is installed.
seccomp.compile_filter(contract.Security())
