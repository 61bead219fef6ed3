"""`--where`: which runs are compared, as a condition over axes, config keys and costs."""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from transferlab.compare.runs import Run
from transferlab.errors import InputError, unknown_key

Condition: TypeAlias = Callable[[Run], bool]
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda left, right: _same(left, right),
    ast.NotEq: lambda left, right: not _same(left, right),
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, values: _among(value, values),
    ast.NotIn: lambda value, values: not _among(value, values),
}
# a quoted text is taken whole, so that a sign inside it stays
_SINGLE_EQUALS = re.compile(r"""('[^']*'|"[^"]*")|(?<![=!<>])=(?!=)""")


def condition(text: str) -> Condition:
    """What a condition says of a run.

    `target.labels=10`, `seed < 3 and strategy != joint`, `strategy in [l2_sp, scratch]`, `not oracle`: keys are axes,
    dotted config keys, `cost.seconds`, `study` or `run_id`; words that are no key stand for themselves.

    Args:
        text: the condition; `=` and `==` mean the same.

    Raises:
        InputError: it is no such condition; or, when asked of a run, compares a word with a number.
    """
    try:
        tree = _parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"--where '{text}' is no condition: write e.g. 'target.labels=10 and seed<3'") from error
    _check(tree, text)

    def holds(run: Run) -> bool:
        try:
            return bool(_value(tree, _values(run)))
        except TypeError as error:
            raise InputError(f"--where '{text}' compares things of different kinds: {error}") from error

    return holds


def check_keys(text: str, runs: Sequence[Run]) -> None:
    """What a condition asks of a run must be something that a run has.

    Args:
        text: as `condition` takes it.
        runs: all that there are.

    Raises:
        InputError: no run has such a key; the nearest is named.
    """
    known = dict.fromkeys(key for run in runs for key in _values(run))
    for name in filter(None, map(_dotted, _asked(_parsed(text)))):
        if name not in known:
            raise unknown_key("key for --where", name, known)


def _parsed(text: str) -> ast.expr:
    return ast.parse(_SINGLE_EQUALS.sub(lambda found: found[1] or "==", text.strip()), mode="eval").body


def _asked(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a condition that must be keys: those left of a comparison, and those that stand alone."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            yield from _asked(part)
    elif isinstance(node, ast.UnaryOp):
        yield from _asked(node.operand)
    else:
        yield node.left if isinstance(node, ast.Compare) else node


def _values(run: Run) -> dict[str, Any]:
    cost = {f"cost.{key}": value for key, value in run.cost.items()}
    return {**run.config, **cost, **run.axes, "study": run.study, "run_id": run.run_id}


def _check(node: ast.AST, text: str) -> None:
    allowed = (ast.BoolOp, ast.UnaryOp, ast.Compare, ast.Name, ast.Attribute, ast.Constant, ast.List, ast.Tuple)
    marks = (ast.boolop, ast.Not, ast.USub, ast.cmpop, ast.expr_context)
    for part in ast.walk(node):
        fits = isinstance(part, (*allowed, *marks)) and not (
            (isinstance(part, ast.cmpop) and type(part) not in _COMPARISONS)
            or (isinstance(part, ast.Attribute) and _dotted(part) is None)
        )
        if not fits:
            raise InputError(
                f"--where '{text}': only keys, values, = != < <= > >= in, and, or, not are understood; "
                "put quotes around words with other signs"
            )


def _value(node: ast.AST, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = (_value(part, values) for part in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, values)
        return not inner if isinstance(node.op, ast.Not) else -inner
    if isinstance(node, ast.Compare):
        return _compared(node, values)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(part, values) for part in node.elts]
    if isinstance(node, ast.Constant):
        return node.value
    name = _dotted(node)
    assert name is not None
    return values[name] if name in values else {"true": True, "false": False}.get(name, name)


def _compared(node: ast.Compare, values: Mapping[str, Any]) -> bool:
    left = _value(node.left, values)
    for sign, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, values)
        ordered = isinstance(sign, (ast.Lt, ast.LtE, ast.Gt, ast.GtE))
        if ordered and (left is None or right is None):
            return False  # what a run does not have is neither less nor more
        if not _COMPARISONS[type(sign)](left, right):
            return False
        left = right
    return True


def _same(left: Any, right: Any) -> bool:
    """Equality, in which `none` and `null` mean nothing; they may be names too, as in `source=none`."""
    if isinstance(right, list) and isinstance(left, str):
        return left == str(right)  # a run keeps a list as text
    return bool(left == right) or (left is None and right in ("none", "null"))


def _among(value: Any, values: Any) -> bool:
    return any(_same(value, other) for other in values) if isinstance(values, list) else bool(value in values)


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return None if inner is None else f"{inner}.{node.attr}"
    return None
