"""`erprm evaluate` and `erprm guide` from files to files, with a small real policy and reward model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from erprm.cli import main
from erprm.rows import StepRow, read_rows, write_rows


def pool_file(path: Path, skill: float) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for problem in range(30):
        for candidate in range(8):
            right = float(rng.random() < 0.3)
            score = np.clip(0.4 + skill * right + rng.normal(0, 0.15, 2), 0, 1)
            rows.append(StepRow(f"q{problem}", ("step one", "step two"), outcome=right, problem_id=str(problem),
                                solution_id=f"{problem}/{candidate}", answer="1" if right else str(rng.integers(2, 5)),
                                gold="1", successes=(round(16 * score[0]), int(right)), trials=(16, 1),
                                scores=tuple(score.tolist())))
    write_rows(path, rows)
    return path


def test_evaluate_writes_curves_report_and_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, noise = pool_file(tmp_path / "good.parquet", 0.4), pool_file(tmp_path / "noise.jsonl", 0.0)
    out, export = tmp_path / "out", tmp_path / "sal.jsonl"
    assert main(["evaluate", "--scored", f"er_eta_2={good}", str(noise), "--out", str(out),
                 "--export", str(export), "--eta", "2", "noise=1", "--scores-are", "value", "noise=mean"]) == 0
    results = json.loads((out / "evaluation.json").read_text())
    table = results["best_of_n"]
    assert table["n"] == [1, 2, 4, 8]
    assert table["er_eta_2"]["accuracy"][-1] > table["noise"]["low"][-1] > 0
    assert results["paired"][0]["first"] == "er_eta_2"
    assert {part["name"] for part in results["calibration"]} == {"er_eta_2", "noise"}
    assert set(results["bellman"]) == {"er_eta_2", "noise", "counts"}
    assert set(results["bellman"]["er_eta_2"]["depths"]) == {"0", "1"}
    assert results["bellman"]["noise"]["eta"] == 1.0
    page = (out / "report.html").read_text()
    assert "Do values agree from step to step?" in page
    assert f"{results['bellman']['er_eta_2']['mean']:.3f}" in page
    assert sorted(path.name for path in out.iterdir()) == ["best_of_n.png", "calibration.png", "evaluation.json",
                                                           "report.html"]
    assert str(out / "evaluation.json") in capsys.readouterr().out
    lines = [json.loads(line) for line in export.read_text().splitlines()]
    assert len(lines) == 30
    assert len(lines[0]["completions"]) == len(lines[0]["scores"]) == 8
    naive = np.mean([line["pred_naive@8"] == "\\boxed{1}" for line in lines])
    assert naive == pytest.approx(table["er_eta_2"]["accuracy"][-1])
    assert "pred_weighted@4" in lines[0]
    assert "pred_maj@8" in lines[0]


def test_evaluate_says_what_else_a_pool_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Biases, what stopping early saves (by the model's own intervals), training questions, and earlier runs."""
    rows = list(read_rows(pool_file(tmp_path / "plain.jsonl", 0.6)))
    sure = [replace(row, score_columns={"score_low": tuple(score - 0.001 for score in row.scores),
                                        "score_high": tuple(score + 0.001 for score in row.scores)}) for row in rows]
    write_rows(tmp_path / "sure.parquet", sure)
    (tmp_path / "train.jsonl").write_text(json.dumps({"question": "Q3"}) + "\n" + json.dumps({"question": "no"}) + "\n")
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert main(["evaluate", "--scored", str(tmp_path / "plain.jsonl"), "--out", first]) == 0
    assert main(["evaluate", "--scored", f"unsure={tmp_path / 'plain.jsonl'}", f"sure={tmp_path / 'sure.parquet'}",
                 "--out", second, "--train-rows", str(tmp_path / "train.jsonl"), "--compare", f"earlier={first}"]) == 0
    results = json.loads((tmp_path / "second" / "evaluation.json").read_text())
    assert results["adaptive"]["sure"]["interval"] == "the model's own"
    assert results["adaptive"]["sure"]["saved"] > 0.2 > results["adaptive"]["unsure"]["saved"]
    assert results["bias"]["sure"] == {"characters": None, "steps": None}, "all solutions are of one length"
    assert set(results["over_optimisation"]["sure"]) == {"turn_down", "passed_over"}
    assert results["contamination"]["the pools"] == {"questions": 30, "training": 2, "equal": 1, "similar": 0,
                                                     "examples": ["q3"]}
    assert results["runs"]["earlier"]["best_of_n"]["plain"] == results["best_of_n"]["unsure"]
    page = (tmp_path / "second" / "report.html").read_text()
    for heading in ("What stopping early would save", "Do scores like length?", "Were these problems trained on?",
                    "Other runs beside this one"):
        assert heading in page
    assert "1 of 30 questions of the pools are among 2 training questions" in capsys.readouterr().out
    (tmp_path / "odd.jsonl").write_text('{"text": "q3"}\n')
    for arguments, words in ((["--compare", "nowhere"], "found no nowhere/evaluation.json"),
                             (["--train-rows", str(tmp_path / "odd.jsonl")], "odd.jsonl:1: expected a prompt")):
        assert main(["evaluate", "--scored", str(tmp_path / "plain.jsonl"), "--out", first, *arguments]) == 2
        assert words in capsys.readouterr().err


def test_evaluate_scores_the_benchmarks_with_a_model(tmp_path: Path, prm_dir: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    process = [{"id": f"g-{i}", "generator": "x", "problem": "2+3?", "steps": ["2+3=5", f"so {i}"],
                "final_answer_correct": i % 2 == 0, "label": -1 if i % 2 == 0 else 1} for i in range(6)]
    broken = [{"original_question": "q", "modified_question": "2+3?", "original_process": ["a", "b"], "idx": f"{i}",
               "modified_process": ["2+3=5", f"so {i}"], "modified_steps": [2], "error_steps": [2], "reason": "r",
               "question": "q", "classification": "circular"} for i in range(4)]
    for name, records in (("process.jsonl", process), ("prm.jsonl", broken)):
        (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["evaluate", "--processbench", str(tmp_path / "process.jsonl"),
                 "--prmbench", str(tmp_path / "prm.jsonl"), "--prm", str(prm_dir), "--out", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert results["processbench"]["fixed"]["wrong"] == 3
    assert results["processbench"]["own_best"]["f1"] >= results["processbench"]["fixed"]["f1"]
    assert results["prmbench"]["fixed"]["overall"]["solutions"] == 4
    printed = capsys.readouterr().out
    assert "ProcessBench (6 records" in printed
    assert printed.count("too few solutions for a development split") == 2, "all of them pose one problem"


@pytest.mark.parametrize(("too_long", "counted"), [("cut", 4), ("skip", 3)])
def test_benchmark_rows_that_the_model_cannot_read_whole(tmp_path: Path, prm_dir: Path, too_long: str, counted: int,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(["2+3=5"] * 900)
    broken = [{"modified_question": "2+3?", "modified_process": steps, "error_steps": [2], "idx": str(i),
               "classification": "circular"}
              for i, steps in enumerate([["2+3=5", "", "so"], ["a", "b"], ["a", "b"], ["a", "b", long]])]
    file = tmp_path / "prm.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in broken))
    command = ["evaluate", "--prmbench", str(file), "--prm", str(prm_dir), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "expected at most" in capsys.readouterr().err
    assert main([*command, "--too-long", too_long]) == 0
    assert "1 of 4 rows are longer" in capsys.readouterr().out
    overall = json.loads((tmp_path / "out" / "evaluation.json").read_text())["prmbench"]["fixed"]["overall"]
    assert overall["solutions"] == counted
    assert overall["steps"] == 7 + 3 * (too_long == "cut")  # the empty step keeps its place and its mark


def test_solutions_without_answers_have_no_majority_curve_and_text_is_no_score(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [replace(row, answer=None) for row in read_rows(pool_file(tmp_path / "a.jsonl", 0.4))]
    write_rows(tmp_path / "bare.jsonl", rows)
    assert main(["evaluate", "--scored", str(tmp_path / "bare.jsonl"), "--out", str(tmp_path / "out")]) == 0
    table = json.loads((tmp_path / "out" / "evaluation.json").read_text())["best_of_n"]
    assert set(table) == {"n", "bare", "pass@n"}
    assert "240 of 240 solutions have no answer and do not vote: no majority curve" in capsys.readouterr().out
    assert "There is no majority vote to compare with" in (tmp_path / "out" / "report.html").read_text()
    record = json.loads((tmp_path / "bare.jsonl").read_text().splitlines()[0]) | {"scores": ["0.5", "high"]}
    (tmp_path / "text.jsonl").write_text(json.dumps(record) + "\n")
    assert main(["evaluate", "--scored", str(tmp_path / "text.jsonl"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "scores" in error
    assert error.count("\n") == 1


def test_graded_outcomes_have_an_expected_reward_beside_the_accuracy(tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "graded.jsonl", [
        StepRow(f"q{problem}", ("a",), outcome=outcome, scores=(score,), answer=str(score))
        for problem in range(4) for outcome, score in ((1.0, 0.2), (0.5, 0.9), (0.0, 0.1))])
    assert main(["evaluate", "--scored", str(tmp_path / "graded.jsonl"), "--out", str(tmp_path / "out"),
                 "--ns", "1", "3"]) in (0, None)
    said = capsys.readouterr().out
    assert "reward@1: 0.500 at 1, 0.500 at 3" in said
    assert "graded: 0.500 at 1, 0.500 at 3" in said
    results = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert results["policy"]["pass@1"] == pytest.approx(1 / 3)
    assert results["best_of_n"]["graded"]["accuracy"][-1] == 0.0
    assert results["expected_reward"]["graded"] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("method", ["beam", "dvts", "guided", "best-of-n", "adaptive"])
def test_guide_writes_graded_scored_solutions(tmp_path: Path, model_dir: Path, prm_dir: Path, method: str,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps({"id": str(i), "question": f"{i}+3?", "answer": str(i + 3)}) + "\n"
                                for i in range(3)))
    out = tmp_path / "solutions.jsonl"
    assert main(["guide", "--problems", str(problems), "--policy", str(model_dir), "--prm", str(prm_dir), "--method",
                 method, "--width", "2", "--trees", "2", "--expand", "2", "--max-steps", "3", "--max-tokens", "16",
                 "--workers", "1", "--out", str(out)]) == 0
    rows = list(read_rows(out))
    assert {row.problem_id for row in rows} == {"0", "1", "2"}
    assert all(len(row.scores) == len(row.steps) and row.outcome in (0.0, 1.0) for row in rows)
    printed = capsys.readouterr().out
    assert "tokens generated; scored:" in printed
    assert ("of 48 candidates were drawn" in printed) == (method == "adaptive")


@pytest.mark.parametrize(("arguments", "words"), [
    (["evaluate"], "give --scored"),
    (["evaluate", "--processbench", "x.jsonl"], "need --prm, the model that scores them, or --scores"),
    (["evaluate", "--prmbench", "x.jsonl", "--prm", "p", "--scores", "s.jsonl"], "found both"),
    (["evaluate", "--prmbench", "x.jsonl", "--processbench", "y.jsonl", "--scores", "s.jsonl"], "one benchmark file"),
    (["evaluate", "--scored", "nothing.jsonl"], "no such file"),
    (["evaluate", "--scored", "POOL", "--eta", "1", "nobody=2"], "eta: expected one of pool before '='"),
    (["evaluate", "--scored", "POOL", "--eta", "warm"], "eta: expected a number, found 'warm'"),
    (["evaluate", "--scored", "POOL", "--scores-are", "odds"], "scores_are: expected value or mean, found 'odds'"),
    (["evaluate", "--scored", "a=x.jsonl", "a=y.jsonl"], "no such file"),
    (["guide", "--problems", "nothing.jsonl", "--policy", "p", "--prm", "q", "--width", "0"], "width"),
])
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str],
                                               words: str) -> None:
    pool = str(pool_file(tmp_path / "pool.jsonl", 0.4))
    arguments = [pool if argument == "POOL" else argument for argument in arguments]
    assert main([*arguments, "--out", str(tmp_path / "out.jsonl")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pool.jsonl"]
