# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be changed in a source, one change at a time: mutmut's operators, and what they leave out."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator

import libcst as cst
import libcst.matchers as m
from mutmut.mutation.mutators import mutation_operators, operator_string

Operator = t.Callable[[t.Any], Iterable[cst.CSTNode]]


_TURNED_ROUND = m.UnaryOperation(operator=m.Not()) | m.Comparison(
    comparisons=[
        m.ComparisonTarget(operator=m.OneOf(m.Equal(), m.NotEqual(), m.In(), m.NotIn(), m.Is(), m.IsNot())),
    ]
)


# An option of an argument specification is a string unless it says otherwise.
TAKEN_FOR_GRANTED = m.DictElement(key=m.SimpleString('"type"'), value=m.SimpleString('"str"'))


def string(node: cst.BaseString) -> Iterator[cst.CSTNode]:
    """Make it another text. Upper and lower case, which mutmut tries as well, tell nothing more."""
    for changed in operator_string(node):
        yield changed
        return


def formatted_text(node: cst.FormattedStringText) -> Iterator[cst.CSTNode]:
    """Make the text of a formatted string another one."""
    if node.value.strip():
        yield node.with_changes(value=f"XX{node.value}XX")


def negation(node: cst.If | cst.While | cst.IfExp) -> Iterator[cst.CSTNode]:
    """Take the other branch, where no other operator turns the condition round already."""
    if m.matches(node.test, _TURNED_ROUND):
        return
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    space = cst.SimpleWhitespace(" ")
    changed: t.Any = node.with_changes(test=cst.UnaryOperation(cst.Not(), test))
    if not isinstance(node, cst.IfExp):
        changed = changed.with_changes(
            **{"whitespace_before_test" if isinstance(node, cst.If) else "whitespace_after_while": space}
        )
    yield changed


def filter_of_items(node: cst.CompFor) -> Iterator[cst.CSTNode]:
    """Leave out a comprehension's condition."""
    for index in range(len(node.ifs)):
        yield node.with_changes(ifs=[*node.ifs[:index], *node.ifs[index + 1 :]])


def statement(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    """Leave out a call made for its effect, or the raising of an error."""
    if len(node.body) == 1 and m.matches(node.body[0], m.Expr(value=m.Call()) | m.Raise()):
        yield node.with_changes(body=[cst.Pass()])


def returned(node: cst.Return) -> Iterator[cst.CSTNode]:
    """Return nothing."""
    if node.value is not None and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" "))


def handler(node: cst.ExceptHandler) -> Iterator[cst.CSTNode]:
    """Catch something else."""
    if node.type is not None:
        yield node.with_changes(type=cst.Name("ZeroDivisionError"), whitespace_after_except=cst.SimpleWhitespace(" "))


def item(node: cst.Tuple | cst.List | cst.Set | cst.Dict) -> Iterator[cst.CSTNode]:
    """Leave out an item of a display: a row of a table, a member of a set."""
    if len(node.elements) > 1:
        for index, element in enumerate(node.elements):
            if m.matches(element, TAKEN_FOR_GRANTED):
                continue
            yield node.with_changes(elements=[*node.elements[:index], *node.elements[index + 1 :]])


def argument(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Leave out an argument that has a name; make any other None."""
    for index, arg in enumerate(node.args):
        if arg.keyword is not None:
            yield node.with_changes(args=[*node.args[:index], *node.args[index + 1 :]])
        elif arg.star == "" and not m.matches(arg.value, m.Name("None")):
            changed = arg.with_changes(value=cst.Name("None"))
            yield node.with_changes(args=[*node.args[:index], changed, *node.args[index + 1 :]])


# Those of mutmut that stand above in a form of their own.
_REPLACED = {"operator_string", "operator_arg_removal"}

OPERATORS: list[tuple[type, Operator]] = [
    *[(kind, operator) for kind, operator in mutation_operators if operator.__name__ not in _REPLACED],
    (cst.BaseString, string),
    (cst.FormattedStringText, formatted_text),
    (cst.If, negation),
    (cst.While, negation),
    (cst.IfExp, negation),
    (cst.CompFor, filter_of_items),
    (cst.SimpleStatementLine, statement),
    (cst.Return, returned),
    (cst.ExceptHandler, handler),
    (cst.Tuple, item),
    (cst.List, item),
    (cst.Set, item),
    (cst.Dict, item),
    (cst.Call, argument),
]
