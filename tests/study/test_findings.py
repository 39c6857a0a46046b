"""docs/findings.md against the committed cells, computed anew from their JSON alone."""

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")

_SECTION = re.compile(r"<!-- ([\w-]+): begin -->\n(.*?)<!-- \1: end -->", re.DOTALL)


def table(section: str) -> dict[str, list[str]]:
    """The cells behind the first one of each row, by that one."""
    found = re.search(rf"<!-- {section}: begin -->\n(.*?)<!-- {section}: end -->", PAGE, re.DOTALL)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    return {row[0].strip(): row[1:] for row in rows[2:]}


def records() -> list[dict[str, object]]:
    return [json.loads(path.read_text(encoding="utf-8"))
            for path in (ROOT / "bench" / "results" / "study" / "countdown").rglob("prm-*.json")]


def test_best_of_n_and_differences_from_soft_labels() -> None:
    """Differences pair problems, on the policies that have both, with reward models averaged over."""
    values: dict[str, dict[int, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for record in records():
        for name, column in record["columns"].items():
            values[name][record["policy_seed"]].append(np.array(column["by_problem"]))
    rows = table("results-countdown")
    assert len(values) >= 10
    for name, by_policy in values.items():
        means = [np.mean(found) for found in by_policy.values()]
        assert rows[name][0] == str(sum(map(len, by_policy.values())))
        assert float(rows[name][1]) == pytest.approx(100 * np.mean(means), abs=0.051)
        if name != "soft":
            gaps = [np.mean(found, axis=0) - np.mean(values["soft"][policy], axis=0)
                    for policy, found in by_policy.items() if policy in values["soft"]]
            assert float(rows[name][4]) == pytest.approx(100 * np.concatenate(gaps).mean(), abs=0.051)


def test_accuracy_with_1024_candidates() -> None:
    by_policy: dict[str, dict[int, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for record in records():
        for name, column in record["columns"].items():
            assert column["wide_n"][-1] == 1024
            by_policy[name][record["policy_seed"]].append(np.array(column["wide_by_problem"])[:, -1])
    rows = table("over-optimisation-countdown")
    for name, found in by_policy.items():
        mean = np.mean([np.mean(values, axis=0).mean() for values in found.values()])
        assert float(rows[name][10]) == pytest.approx(100 * mean, abs=0.051)


def test_the_prose_has_no_figure_that_no_table_has() -> None:
    tables = "".join(found[2] for found in re.finditer(_SECTION, PAGE))
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`|arXiv [\d.]+", "", re.sub(_SECTION, "", PAGE))
    printed = {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", tables)}
    said = {float(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+|\d*\.\d+", prose)}
    assert len(said) > 10
    assert said - printed == set()
