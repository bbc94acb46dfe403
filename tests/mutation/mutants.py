# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mutants of a source file: every change that the operators make where it could change an outcome."""

from __future__ import annotations

import dataclasses
import pathlib

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider

from .operators import OPERATORS, TAKEN_FOR_GRANTED

# What changes no outcome: what only a type checker reads, what only helps to read, and what decorates.
_NOT_CHANGED = (
    TAKEN_FOR_GRANTED
    | m.Annotation()
    | m.Import()
    | m.ImportFrom()
    | m.Decorator()
    | m.Assert()
    | m.Assign(value=m.Subscript(value=m.Name("Callable") | m.Attribute(attr=m.Name("Callable"))))
    | m.Assign(value=m.Call(func=m.Name("TypeVar") | m.Attribute(attr=m.Name("TypeVar"))))
    | m.Expr(value=m.SimpleString() | m.ConcatenatedString())
    | m.Assign(targets=[m.AssignTarget(target=m.Name("__all__") | m.Name("TYPE_CHECKING"))])
    | m.Assign(targets=[m.AssignTarget(target=m.Name("DOCUMENTATION") | m.Name("EXAMPLES") | m.Name("RETURN"))])
    | m.Arg(keyword=m.Name("repr"))
    | m.Subscript(value=m.Name("Callable") | m.Attribute(attr=m.Name("Callable")))
)
_MAY_NOT_BE_CHANGED = (
    cst.Annotation,
    cst.Arg,
    cst.Assert,
    cst.Assign,
    cst.Call,
    cst.Decorator,
    cst.DictElement,
    cst.Expr,
    cst.If,
    cst.Import,
    cst.ImportFrom,
    cst.Subscript,
)
_FOR_TYPE_CHECKERS = m.If(test=m.Name("TYPE_CHECKING") | m.Attribute(attr=m.Name("TYPE_CHECKING")))
_CAST = m.Call(func=m.Attribute(value=m.Name("t"), attr=m.Name("cast")))


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change in one file."""

    path: str
    number: int
    lines: range
    at_import: bool
    operator: str
    before: str
    after: str
    _module: cst.Module = dataclasses.field(repr=False, compare=False)
    _node: cst.CSTNode = dataclasses.field(repr=False, compare=False)
    _changed: cst.CSTNode = dataclasses.field(repr=False, compare=False)

    @property
    def source(self) -> str:
        """The file's text with the change."""
        changed = self._module.deep_replace(self._node, self._changed)
        assert isinstance(changed, cst.Module)
        return changed.code

    def __str__(self) -> str:
        change = f"{_short(self.before)}  →  {_short(self.after)}"
        return f"{self.path}:{self.lines.start} (#{self.number}, {self.operator}) {change}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 90 else text[:89] + "…"


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, path: str, module: cst.Module) -> None:
        super().__init__()
        self.path = path
        self.module = module
        self.depth = 0
        self.lines = range(0)
        self.found: list[Mutant] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _MAY_NOT_BE_CHANGED) and m.matches(node, _NOT_CHANGED):
            return False
        if isinstance(node, cst.Call) and m.matches(node, _CAST):
            node.args[1].visit(self)
            return False
        if isinstance(node, cst.If) and m.matches(node, _FOR_TYPE_CHECKERS):
            if node.orelse is not None:
                node.orelse.visit(self)
            return False
        if isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement, cst.ExceptHandler, cst.Else)):
            self.lines = self._lines_of(node)
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                for changed in operator(node):
                    self._add(node, changed, operator.__name__)
        if isinstance(node, cst.FunctionDef):
            node.params.visit(self)  # Defaults are taken when the function is defined.
            self.depth += 1
            node.body.visit(self)
            self.depth -= 1
            return False
        return True

    def _lines_of(self, node: cst.CSTNode) -> range:
        """Return the lines of a statement, without those of the statements in it."""
        place = self.get_metadata(PositionProvider, node)
        body = getattr(node, "body", None)
        if isinstance(body, cst.IndentedBlock):
            first_inside = self.get_metadata(PositionProvider, body.body[0]).start.line
            return range(place.start.line, max(first_inside, place.start.line + 1))
        return range(place.start.line, place.end.line + 1)

    def _add(self, node: cst.CSTNode, changed: cst.CSTNode, operator: str) -> None:
        before, after = self.module.code_for_node(node), self.module.code_for_node(changed)
        if before == after:
            return
        lines = self.lines
        if isinstance(node, cst.SimpleStatementLine):
            place = self.get_metadata(PositionProvider, node)
            lines = range(place.start.line, place.end.line + 1)
        operator = operator.removeprefix("operator_")
        at_import = self.depth == 0
        number = len(self.found) + 1
        self.found.append(
            Mutant(self.path, number, lines, at_import, operator, before, after, self.module, node, changed)
        )


def mutants_of(root: pathlib.Path, path: str) -> list[Mutant]:
    """Return the mutants of the file PATH below ROOT, always in the same order."""
    wrapper = MetadataWrapper(cst.parse_module((root / path).read_text(encoding="utf-8")), unsafe_skip_copy=True)
    finder = _Finder(path, wrapper.module)
    wrapper.visit(finder)
    return finder.found
