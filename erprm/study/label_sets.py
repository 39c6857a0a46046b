"""Which rows a reward model of the study trains on, and the tokens that their labels cost.

    rows, tokens = training_rows(lab, "half")          # work/.../training-half.parquet, written if it is not there

"all" are the rows of the demo: the labelled solutions and their contrasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from erprm.demo.commands import command
from erprm.demo.recipe import Lab
from erprm.errors import InputError
from erprm.problems import read_problems
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows, write_rows
from erprm.steps import join_steps

LABEL_SETS = {
    "all": "every labelled solution with its contrasts",
    "half": "those of the first half of the problems",
    "quarter": "those of the first quarter of the problems",
    "agreed": "those of solutions on whose first wrong step the task's own checker agrees",
    "outcomes": "no completions: as many more solutions as these would cost in tokens, with their outcomes",
}
_SHARES = {"half": 2, "quarter": 4}


def check_label_set(name: str) -> None:
    """Raises InputError unless it is one of `LABEL_SETS`."""
    if name not in LABEL_SETS:
        raise InputError(f"targets: expected a label set among {', '.join(LABEL_SETS)} behind +, found {name!r}")


def training_rows(lab: Lab, labels: str) -> tuple[Path, int]:
    """(where they lie, generated tokens: of the solutions, and of completions from their prefixes)."""
    problems = _problems(lab, labels)
    solutions = _solution_tokens(lab, lab.folder / "solutions.parquet", problems)
    tokens = solutions + _completion_tokens(lab, problems)
    path = lab.rows if labels == "all" else lab.folder / f"training-{labels}.parquet"
    if labels == "outcomes":
        if not path.is_file():
            more = round(tokens / (solutions / lab.settings.solutions))
            lab.sampled("label", more, path.stem, lab.settings.seed + 6)()
        return path, _solution_tokens(lab, path, problems)
    if not path.is_file():
        rows = _agreed(lab) if labels == "agreed" else read_rows(lab.rows)
        write_rows(path, (row for row in rows if row.problem_id in problems))
    return path, tokens


def _problems(lab: Lab, labels: str) -> set[str]:
    found = [problem.id for problem in read_problems(lab.problems("label"))]
    return set(found[: -(-len(found) // _SHARES.get(labels, 1))])


def _solution_tokens(lab: Lab, rows: Path, problems: set[str]) -> int:
    """Each with the token that ends it."""
    from erprm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(lab.model("policy"))
    texts = [join_steps(row.steps, gaps=row.gaps) for row in read_rows(rows) if row.problem_id in problems]
    return sum(len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])


def _completion_tokens(lab: Lab, problems: set[str]) -> int:
    parts = read_parts(lab.folder / "labels", ["problem_id", "tokens"])
    return sum(record["tokens"] for table in parts for record in table.to_pylist() if record["problem_id"] in problems)


def _agreed(lab: Lab) -> Iterable[StepRow]:
    """A contrast stays or goes with the solution from whose prefix it was completed."""
    labelled, verdicts, agreed = lab.folder / "labels" / "rows.parquet", *(
        lab.folder / f"{name}.parquet" for name in ("verdicts", "agreed"))
    if not verdicts.is_file():
        command("judge", rows=labelled, problems=lab.problems("label"), judge="program", out=verdicts)()
    command("filter", rows=labelled, consensus=verdicts, out=agreed)()
    kept = {row.solution_id for row in read_rows(agreed)}
    return (row for row in read_rows(lab.rows) if kept & {row.solution_id, row.solution_id.rsplit("/", 2)[0]})
