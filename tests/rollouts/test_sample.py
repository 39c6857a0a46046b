"""Solutions from a policy."""

from pathlib import Path

from erprm.engines import Sampling
from erprm.grading import GraderPool
from erprm.rollouts.sample import sample_solutions
from erprm.rows import read_rows

from .coin import CoinEngine, problems


def test_every_problem_gets_n_rows_and_more_only_adds(tmp_path: Path) -> None:
    out = tmp_path / "solutions.parquet"
    with GraderPool(workers=1) as grader:
        sample_solutions(problems(5), CoinEngine(), Sampling(), out, grader, n=4, part_completions=3)
        first = list(read_rows(out))
        report = sample_solutions(problems(5), engine := CoinEngine(), Sampling(), out, grader, n=6)
    rows = list(read_rows(out))
    assert [row.solution_id for row in rows] == [f"p{i}/{j}" for i in range(5) for j in range(6)]
    assert [row for row in rows if int(row.solution_id[-1]) < 4] == first
    assert (report.restored, engine.asked) == (20, 10)
    for row in rows:
        assert row.steps == ("so", f"#### {row.answer}")
        assert row.outcome == (row.answer == "7")
        assert row.finished
        assert row.gold == "7"
    assert 0 < sum(row.outcome for row in rows) < 30
