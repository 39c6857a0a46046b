"""MATH-APS (OpenR): Monte-Carlo values of prefixes, flat or as a tree. A path to a leaf is a row.

The value of the question alone is kept in `extra["root_value"]`. With `Options.trials` the values become counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.rows import StepRow

_GAP = "\n\n"
_USED = ("question", "final_answer", "reasoning_steps")  # question_id is not unique in the published files


def _row(record: Mapping[str, Any], path: Sequence[tuple[str, float]], root: float | None, options: Options) -> StepRow:
    values = [value for _, value in path]
    counts: tuple[int, ...] | None = None
    if options.trials is not None:
        counts = tuple(round(value * options.trials) for value in values)
        if any(abs(count - value * options.trials) > 1e-6 for count, value in zip(counts, values, strict=True)):
            raise RecordError(f"mc_value: expected multiples of 1/{options.trials}", str(values)[:60])
    answer = record.get("final_answer")
    row = StepRow(
        prompt=fields.text(record, "question"), steps=tuple(step for step, _ in path),
        labels=tuple(values) if counts is None else None, successes=counts,
        trials=None if counts is None or options.trials is None else (options.trials,) * len(path), finished=False,
        gold=None if answer is None else str(answer),
        extra={} if root is None else {"root_value": root})
    return fields.with_extra(row, record, _USED)


def _value(node: Mapping[str, Any]) -> float:
    value = fields.label(node.get("mc_value"), "mc_value")
    if value is None:
        raise RecordError("mc_value: expected a number in [0, 1]", "none")
    return value


def _decode(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    body = record.get("reasoning_steps")
    if isinstance(body, Mapping):
        root = body.get("mc_value")
        yield from (_row(record, path, None if root is None else _value(body), options) for path in _paths(body, ()))
    else:
        yield from _decode_flat(record, options, report)


def _paths(node: Any, path: tuple[tuple[str, float], ...]) -> Iterator[tuple[tuple[str, float], ...]]:
    children = node.get("children")
    if not isinstance(children, (list, tuple)):
        raise RecordError("children: expected a list", type(children).__name__)
    for child in children:
        if not isinstance(child, Mapping):
            raise RecordError("children: expected objects", type(child).__name__)
        longer = (*path, (fields.text(child, "text"), _value(child)))
        if child.get("children") == []:
            yield longer
        else:
            yield from _paths(child, longer)


def _decode_flat(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    question = fields.lines(record, "question", report)
    values: dict[str, float] = {}
    for node in fields.objects(record, "reasoning_steps"):
        if not isinstance(node, Mapping):
            raise RecordError("reasoning_steps: expected objects", type(node).__name__)
        prefix = fields.lines(node, "solution_prefix", report)
        if not prefix.startswith(question):
            raise RecordError("solution_prefix: expected the question at its start", repr(prefix[:40]))
        prefix = prefix.rstrip()
        if prefix in values:
            report.repair("reasoning_steps: a prefix that was there before (its last value counts)")
        values[prefix] = _value(node)
    root = values.pop(question.rstrip(), None)
    parents: dict[str, str] = {}
    for prefix in values:
        before = [other for other in values
                  if len(other) < len(prefix) and prefix.startswith(other) and _breaks(prefix, len(other))]
        parents[prefix] = max(before, key=len, default=question)
    inner = set(parents.values())
    for leaf in values:
        if leaf in inner:
            continue
        path: list[tuple[str, float]] = []
        prefix = leaf
        while prefix != question:
            path.insert(0, (prefix[len(parents[prefix]):].strip(), values[prefix]))
            prefix = parents[prefix]
        yield _row(record, path, root, options)


def _breaks(prefix: str, position: int) -> bool:
    """Whether a new step begins at `position`: the white space there has a line break."""
    rest = prefix[position:]
    return "\n" in rest[:len(rest) - len(rest.lstrip())]


def _head(row: StepRow) -> dict[str, Any]:
    record = {name: value for name, value in row.extra.items() if name != "root_value"}
    return record | {"question": row.prompt, "final_answer": row.gold}


def _values(row: StepRow, options: Options) -> list[float]:
    if row.successes is not None and row.trials is not None and all(row.trials):
        return [k / n for k, n in zip(row.successes, row.trials, strict=True)]
    found = fields.row_labels(row, options)
    if None in found:
        raise RecordError("labels: expected one for every step", f"none for step {found.index(None) + 1}")
    return [value for value in found if value is not None]


def _encode_flat(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    values: dict[str, float] = {}
    if "root_value" in rows[0].extra:
        values[rows[0].prompt] = rows[0].extra["root_value"]
    for row in rows:
        prefix = row.prompt
        for step, value in zip(row.steps, _values(row, options), strict=True):
            prefix += _GAP + step
            values[prefix] = value
    nodes = [{"solution_prefix": prefix, "mc_value": value} for prefix, value in values.items()]
    return _head(rows[0]) | {"reasoning_steps": nodes}


def _encode_tree(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    root: dict[str, Any] = {"text": rows[0].prompt, "mc_value": rows[0].extra.get("root_value"), "children": []}
    for row in rows:
        node = root
        for depth, (step, value) in enumerate(zip(row.steps, _values(row, options), strict=True), start=1):
            # Two samples may be equal: only a node that rows go on from is shared, a row's last step is its own.
            known = next((child for child in reversed(node["children"])
                          if child["children"] and (child["text"], child["mc_value"]) == (step, value)), None)
            if depth == len(row.steps) or known is None:
                known = {"text": step, "mc_value": value, "children": []}
                node["children"].append(known)
            node = known
    return _head(rows[0]) | {"reasoning_steps": root}


FORMATS = (
    Format("math-aps", "question, reasoning_steps of solution_prefix and mc_value", _decode, _encode_flat,
           options=("trials",), grouped=True),
    Format("math-aps-tree", "question, reasoning_steps as a tree of text, mc_value, children", _decode, _encode_tree,
           options=("trials",), grouped=True),
)
