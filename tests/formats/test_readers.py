"""Published records as they are, malformed ones of every kind, and the command."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from erprm.cli import main
from erprm.errors import InputError
from erprm.formats import FORMATS, Options, read, write
from erprm.rows import StepRow
from erprm.steps import split_steps

SHEPHERD = {
    "input": "Natalia sold clips to 48 friends.\nHow many? Step 1: She sold 48/2 = 24 + 0 -\n(or 24) ки\n"
             "Step 2: 48+24 = 72. The answer is: 72 ки",
    "label": "Natalia sold clips to 48 friends.\nHow many? Step 1: She sold 48/2 = 24 + 0 -\n(or 24) +\n"
             "Step 2: 48+24 = 72. The answer is: 72 -",
    "task": "GSM8K"}


def one(record: dict[str, Any], name: str, tmp_path: Path, **options: Any) -> list[StepRow]:
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(record))
    return list(read(path, name, strict=True, options=Options(**options)))


def test_math_shepherd_reads_signs_at_the_end_of_steps_only(tmp_path: Path) -> None:
    """A line of a step that ends with a sign is no label."""
    (row,) = one(SHEPHERD, "math-shepherd", tmp_path)
    assert row.prompt == "Natalia sold clips to 48 friends.\nHow many?"
    assert row.steps == ("Step 1: She sold 48/2 = 24 + 0 -\n(or 24)", "Step 2: 48+24 = 72. The answer is: 72")
    assert (row.labels, row.extra) == ((1.0, 0.0), {"task": "GSM8K"})


def test_math_shepherd_older_revision(tmp_path: Path) -> None:
    (row,) = one({"input": "Q? Step 1: a ки ?\nStep 2: b ки ?", "label": "Q? Step 1: a ки +\nStep 2: b ки -"},
                 "math-shepherd", tmp_path)
    assert (row.steps, row.labels) == (("Step 1: a", "Step 2: b"), (1.0, 0.0))


def test_math_shepherd_numbers_steps_on_writing(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", "math-shepherd", [StepRow("Q\nR", ("a", "b"), labels=(1.0, 0.7))],
          options=Options(threshold=0.5))
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "input": "Q\nR Step 1: a ки\nStep 2: b ки", "label": "Q\nR Step 1: a +\nStep 2: b +", "task": "GSM8K"}


def test_er_prm_tolerates_a_missing_final_tag_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "er.jsonl"
    path.write_text(json.dumps({"text": "Q? Step 1: a ки\nStep 2: b", "value": [0.5, 0.25]}))
    reader = read(path, "er-prm")
    assert [row.labels for row in reader] == [(0.5, 0.25)]
    assert reader.report.repaired == {"text: the last step had no tag": 1}


def test_er_prm_raw_stages(tmp_path: Path) -> None:
    solutions = one({"prompt": "Q?", "completions": ["a\nb", "c ки\nd ки"]}, "er-prm", tmp_path)
    assert [row.steps for row in solutions] == [("a", "b"), ("c", "d")]
    (graded,) = one({"text": "Q? Step 1: a ки", "label": 1}, "er-prm", tmp_path)
    assert (graded.labels, graded.outcome) == (None, 1.0)


def test_openrlhf_with_other_names_and_tag(tmp_path: Path) -> None:
    (row,) = one({"inputs": "Q?\na <step>\nb <step>", "values": ["+", "-"]}, "openrlhf", tmp_path, tag="<step>",
                 input_field="inputs", value_field="values")
    assert (row.prompt, row.steps, row.labels) == ("Q?", ("a", "b"), (1.0, 0.0))


def test_rlhflow(tmp_path: Path) -> None:
    (row,) = one({"conversations": [
        {"role": "user", "content": "Q? Step 1: a"}, {"role": "assistant", "content": "+"},
        {"role": "user", "content": "Step 2: b"}, {"role": "assistant", "content": "-"}]}, "rlhflow", tmp_path)
    assert (row.prompt, row.steps, row.labels) == ("Q?", ("Step 1: a", "Step 2: b"), (1.0, 0.0))


def test_rlhflow_candidates_of_both_policies(tmp_path: Path) -> None:
    found = one({"prompt": "Q", "answers": ["a ки\nb ки", "c\nd\n\ne"], "labels": [1, 0]}, "rlhflow-bon", tmp_path)
    assert [(row.steps, row.outcome) for row in found] == [(("a", "b"), 1.0), (("c\nd", "e"), 0.0)]


PRM800K = {"question": {"problem": "Q", "ground_truth_answer": "7"}, "label": {"finish_reason": "solution", "steps": [
    {"completions": [{"text": "a", "rating": 1}, {"text": "x", "rating": -1}], "human_completion": None,
     "chosen_completion": 0},
    {"completions": [{"text": "y", "rating": 0}], "human_completion": {"text": "b", "rating": None},
     "chosen_completion": None},
    {"completions": [{"text": "c", "rating": None}], "human_completion": "", "chosen_completion": 0}]}}


@pytest.mark.parametrize(("neutral", "label"), [("good", 1.0), ("bad", 0.0), ("none", None)])
def test_prm800k(tmp_path: Path, neutral: str, label: float | None) -> None:
    found = one(PRM800K, "prm800k", tmp_path, neutral=neutral)
    assert [(row.steps, row.labels) for row in found] == [
        (("a", "b", "c"), (1.0, 1.0, None)), (("x",), (0.0,)), (("a", "y"), (1.0, label))]
    assert (found[0].gold, found[0].finished, found[1].finished) == ("7", True, False)


def test_prm800k_asks_what_neutral_means(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neutral: expected good, bad or none"):
        one(PRM800K, "prm800k", tmp_path)


def test_prmbench(tmp_path: Path) -> None:
    record = {"original_question": "Q", "modified_question": "Q2", "original_process": ["a", "b"],
              "modified_process": ["a", "x", "y"], "modified_steps": [2], "error_steps": [2, 3], "reason": "r",
              "idx": "redundency_prm_test_p1_1", "question": "Q", "classification": "redundency"}
    (row,) = one(record, "prmbench", tmp_path)
    assert (row.prompt, row.steps, row.labels) == ("Q2", ("a", "x", "y"), (1.0, 0.0, 0.0))
    assert (row.solution_id, row.extra["classification"]) == ("redundency_prm_test_p1_1", "redundency")
    path = tmp_path / "beyond.jsonl"  # as in a hundred of the published records
    path.write_text(json.dumps({**record, "error_steps": [3, 4]}) + "\n")
    reader = read(path, "prmbench")
    assert [row.labels for row in reader] == [(1.0, 1.0, 0.0)]
    assert list(reader.report.repaired.values()) == [1]


BAD = [
    ("math-shepherd", {**SHEPHERD, "label": SHEPHERD["label"].replace("72 -", "72 ки")}, "+ or - at the end"),
    ("math-shepherd", {**SHEPHERD, "label": SHEPHERD["label"].replace("friends", "boys")},
     "expected the text of input"),
    ("math-shepherd", {"input": "Q? Step 1: a", "label": "Q? Step 1: a +"}, "a tag after every step"),
    ("math-shepherd", {"input": "Step 1: a ки", "label": "Step 1: a +"}, "expected a problem"),
    ("math-shepherd", {"input": 5, "label": ""}, "input: expected text, found int"),
    ("er-prm", {"text": "Q? Step 1: a ки", "value": [0.5, 0.5]}, "2 for 1 steps"),
    ("er-prm", {"text": "Q? Step 1: a ки", "value": [1.5]}, "found 1.5"),
    ("er-prm", {"text": "Q? Step 1: a ки\nки", "value": [1, 1]}, "a step before every tag"),
    ("er-prm", {"text": "Q? Step 1: a ки b ки", "value": [1, 1]}, "tags at line ends"),
    ("openrlhf", {"input": "Q?\na ки\nb", "value": ["+", "-"]}, "a tag after every step"),
    ("openrlhf", {"input": "Q?\na ки", "value": ["good"]}, "found 'good'"),
    ("openrlhf", {"text": "Q?"}, r"no such field \(text\)"),
    ("trl", {"prompt": "Q", "completions": ["a", "b"], "labels": [True]}, "1 for 2 steps"),
    ("trl", {"prompt": "Q", "completions": [], "labels": []}, "completions: expected at least one"),
    ("trl", {"prompt": "Q", "completions": ["a"], "labels": [float("nan")]}, "found nan"),
    ("rlhflow", {"conversations": [{"role": "user", "content": "Q? Step 1: a"}]}, "an answer to every step"),
    ("rlhflow", {"conversations": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "+"}]},
     "in turn"),
    ("rlhflow", {"conversations": [{"role": "user", "content": "Q? Step 1: a"},
                                   {"role": "assistant", "content": "yes"}]},
     "found 'yes'"),
    ("rlhflow-bon", {"prompt": "Q", "answers": ["a", "b"], "label": [1]}, "1 for 2 answers"),
    ("prm800k", {"question": "Q", "label": {"steps": [{"completions": [{"text": "a", "rating": 2}]}]}}, "found 2"),
    ("prm800k", {"question": "Q", "label": {"steps": [{"completions": [{"text": "a", "rating": 1}],
                                                       "chosen_completion": 3}]}}, "3 of 1 at step 1"),
    ("processbench", {"problem": "Q", "steps": ["a"], "label": 1, "final_answer_correct": True}, "1 of 1 steps"),
    ("prmbench", {"modified_question": "Q", "modified_process": ["a"], "error_steps": [0]}, "numbers of steps from 1"),
    ("search-and-learn", {"problem": "Q", "completions": ["a"], "scores": [[0.1], [0.2]]}, "2 for 1"),
    ("math-aps", {"question": "Q", "reasoning_steps": [{"solution_prefix": "R", "mc_value": 1}]},
     "question at its start"),
    ("math-aps", {"question": "Q", "reasoning_steps": [{"solution_prefix": "Q\n\na", "mc_value": 2}]}, "found 2"),
    ("math-aps", {"question": "Q", "reasoning_steps": {"text": "Q", "mc_value": 1, "children": [{"text": ""}]}},
     "text: expected text"),
    ("erprm", {"prompt": "Q", "steps": ["a"], "label": [1]}, "unknown field 'label'"),
    ("erprm", {"prompt": "Q", "steps": []}, "at least one step"),
]


@pytest.mark.parametrize(("name", "record", "message"), BAD)
def test_malformed_records_are_counted_or_refused(name: str, record: dict[str, Any], message: str,
                                                  tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n" + json.dumps(record) + "\n")
    options = Options(neutral="none")
    with pytest.raises(InputError, match=f"bad.jsonl:2: .*{message}".replace("+", r"\+")):
        list(read(path, name, strict=True, options=options))
    reader = read(path, name, options=options)
    assert list(reader) == []
    assert sum(reader.report.dropped.values()) == reader.report.records == 1
    assert "bad.jsonl:2" in str(reader.report)


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    good = json.dumps({"prompt": "Q", "completions": ["a"], "labels": [True]})
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join([good.encode(), b"{", b"[1]", b"\xff", good.encode()]))
    reader = read(tmp_path / "bad.jsonl", "trl")
    assert len(list(reader)) == 2
    assert (reader.report.records, reader.report.dropped) == (5, {"expected one JSON object per line": 3})
    with pytest.raises(InputError, match=r"bad\.jsonl:2"):
        list(read(tmp_path / "bad.jsonl", "trl", strict=True))


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'math-shepherd'"):
        read(tmp_path / "x", "math-shepard")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "x", "trl")


@pytest.mark.parametrize(("name", "row", "message"), [
    ("trl", StepRow("Q", ("a",)), "expected labels or counts"),
    ("trl", StepRow("Q", ("a", "b"), labels=(1.0, None)), "none for step 2"),
    ("rlhflow", StepRow("Q", ("a",), labels=(0.5,)), "0 or 1, or a threshold"),
    ("er-prm", StepRow("Q\nR", ("a",), labels=(0.5,)), "told from its first step"),
    ("er-prm", StepRow("Q", ("a", "b ки\nc"), labels=(0.5, 0.5)), "without the tag"),
    ("rlhflow-bon", StepRow("Q", ("a\n\nb",), outcome=1.0), "blank-line keeps apart"),
    ("rlhflow-bon", StepRow("Q", ("a",)), "outcome"),
    ("processbench", StepRow("Q", ("a", "b"), labels=(None, 0.0)), "none for step 1"),
])
def test_rows_that_a_format_cannot_hold(name: str, row: StepRow, message: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(InputError, match=f"row 1: .*{message}"):
        write(path, name, [row])
    assert path.read_text() == "old"  # nothing half-written
    with pytest.raises(InputError, match=f"expected rows that the format {name} can hold, found none: 1 dropped: "):
        write(path, name, [row], strict=False)
    assert path.read_text() == "old"
    other = StepRow("P", ("a",), labels=(1.0,), outcome=1.0)
    report = write(path, name, [row, other], strict=False)
    assert (sum(report.dropped.values()), report.rows) == (1, 1)


def test_counts_become_labels_on_writing(tmp_path: Path) -> None:
    """The last step of a finished solution has its outcome, whatever was sampled from it."""
    row = StepRow("Q", ("a", "b"), successes=(4, 0), trials=(16, 0), outcome=1.0)
    write(tmp_path / "o.jsonl", "er-prm", [row], options=Options(target="er", eta=2.0))
    value = json.loads((tmp_path / "o.jsonl").read_text())["value"]
    assert value == [pytest.approx(math.log1p(0.25 * math.expm1(2.0)) / 2.0), 1.0]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    record = {"prompt": "Q" * 500, "completions": ["a" * 500] * 3, "labels": [0.5] * 3}
    path.write_text((json.dumps(record) + "\n") * 500)
    tracemalloc.start()
    write(tmp_path / "out.jsonl", "er-prm", read(path, "trl"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 3


def test_math_aps_samples(data: Path, tmp_path: Path) -> None:
    """The published samples: read with counts, written as a tree and flat, and the same rows again."""
    flat = list(read(data / "math_aps" / "samples.jsonl", "math-aps", strict=True, options=Options(trials=32)))
    assert len(flat) == 124
    assert all(set(row.trials or ()) == {32} and row.gold for row in flat)
    assert {row.prompt for row in flat} == {row.prompt for row in flat if row.extra["root_value"] <= 1}
    trees = list(read(data / "math_aps" / "samples_tree.jsonl", "math-aps", strict=True, options=Options(trials=32)))
    assert len(trees) == 242
    write(tmp_path / "tree.jsonl", "math-aps-tree", trees)
    again = read(tmp_path / "tree.jsonl", "math-aps-tree", strict=True, options=Options(trials=32))
    assert sorted(again, key=repr) == sorted(trees, key=repr)


def test_convert(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = data / "math_aps" / "samples.jsonl", tmp_path / "rows.jsonl"
    assert main(["convert", "--from", "math-aps", "--to", "trl", "--input", str(source), "--output", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == str(out)
    assert "3 records, 124 rows" in shown.err
    assert "repaired 10: reasoning_steps" in shown.err
    assert len(list(read(out, "trl", strict=True))) == 124
    assert main(["convert", "--from", "trl", "--to", "math-shepherd", "--strict", "--input", str(out), "--output",
                 str(tmp_path / "s.jsonl")]) == 2
    assert "row 13: labels: expected 0 or 1, or a threshold, found 0.9375" in capsys.readouterr().err
    assert not (tmp_path / "s.jsonl").exists()


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
@pytest.mark.parametrize(("name", "record"), [
    ("math-shepherd", SHEPHERD),
    ("er-prm", {"text": "Q? Step 1: a ки\nStep 2: b\nc ки\n", "value": [0.5, 0.25]}),
    ("openrlhf", {"input": "Q?\na ки\nb ки\n", "value": ["+", "-"]}),
    ("rlhflow-bon", {"prompt": "Q", "answers": ["a\nb\n\nc"], "label": [1]}),
])
def test_line_ends_of_other_systems(name: str, record: dict[str, Any], ends: str, tmp_path: Path) -> None:
    expected = one(record, name, tmp_path)
    path = tmp_path / "ends.jsonl"
    path.write_text(json.dumps(record).replace("\\n", json.dumps(ends)[1:-1]))
    reader = read(path, name)
    assert list(reader) == expected
    assert sum(reader.report.repaired.values()) == (2 if name == "math-shepherd" else 1)


def test_halves_of_surrogate_pairs_are_replaced_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "1 \\ud83d", "steps": ["a"]}\n{"prompt": "2 \\ud83d\\ude00", "steps": ["a"]}\n')
    reader = read(path, "erprm")
    assert [row.prompt for row in reader] == ["1 \ufffd", "2 \U0001f600"]
    assert reader.report.repaired == {"text: half of a surrogate pair, replaced by U+FFFD": 1}


def test_empty_steps_of_prmbench_are_kept(tmp_path: Path) -> None:
    record = {"modified_question": "Q", "modified_process": ["a", "", "c"], "error_steps": [3]}
    (row,) = one(record, "prmbench", tmp_path)
    assert (row.steps, row.labels) == (("a", "", "c"), (1.0, 1.0, 0.0))


@pytest.mark.parametrize("lines", ["", "\n\n", "{\n", '{"prompt": "Q"}\n'])
def test_nothing_read_is_an_error_and_writes_nothing(lines: str, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text(lines)
    out = tmp_path / "out.jsonl"
    command = ["convert", "--from", "trl", "--to", "erprm", "--input", str(tmp_path / "in.jsonl"), "--out", str(out)]
    assert main(command) == 2
    assert "expected at least one row, found" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_which_none_fits_are_an_error_and_write_nothing(format: str, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "Q", "steps": ["a"]}\n' * 3)
    out = tmp_path / "out.jsonl"
    words = ["--from", "erprm", "--to", format, "--input", str(tmp_path / "in.jsonl"), "--out", str(out)]
    code = main(["convert", *words])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("erprm")]
    if format in ("erprm", "search-and-learn"):  # which have room for rows without labels
        assert (code, said, len(out.read_text().splitlines()) > 0) == (0, [], True)
        return
    assert (code, len(said)) == (2, 1)
    assert "found none: 3 dropped: " in said[0] or "found none: 1 dropped: " in said[0]  # or one group of the three
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_converted_rows_have_ids_that_follow_from_their_prompts(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    write(source, "trl", [StepRow(prompt, (step,), labels=(1.0,)) for prompt in "pq" for step in "ab"])
    assert main(["convert", "--from", "trl", "--to", "erprm", "--input", str(source), "--out", str(out)]) == 0
    ids = [row.problem_id for row in read(out, "erprm")]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert all(ids)


def test_a_candidate_is_written_as_the_policy_wrote_it_where_that_is_cut_the_same_way(tmp_path: Path) -> None:
    texts = "So 1+1\n= 2.\n\n\nThe answer is 2.", "1+1=2\nThe answer is 2"
    rows = [StepRow("1+1?", tuple(steps), outcome=1.0, problem_id="a", gaps=steps.gaps)
            for steps in (split_steps(texts[0], "blank-line"), split_steps(texts[1], "newline"))]
    write(tmp_path / "bon.jsonl", "rlhflow-bon", rows)
    record = json.loads((tmp_path / "bon.jsonl").read_text())
    assert record["answers"] == [texts[0], "1+1=2\n\nThe answer is 2"]
