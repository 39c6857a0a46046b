"""Problem sets in, from every source, and what is refused."""

import json
from pathlib import Path

import pytest

from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.problems import Problem, check_disjoint, distinct, load_problems, read_problems, write_problems

COUNTDOWN = "reasoning-gym:countdown?min_numbers=3&max_numbers=3&min_value=1&max_value=9&min_target=5&max_target=90"


def lines(path: Path, *records: object) -> Path:
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return path


def test_gsm8k(tmp_path: Path) -> None:
    path = lines(tmp_path / "train.jsonl", {"question": "Q?", "answer": "48/2 = <<48/2=24>>24\n#### 1,024"})
    assert load_problems(f"gsm8k:{path}") == [
        Problem("gsm8k-train-1", "Q?", "1,024", solution="48/2 = 24\n#### 1,024")]
    assert "<<48/2=24>>" in str(load_problems(f"gsm8k:{path}?annotations=keep")[0].solution)


def test_math(data: Path) -> None:
    first = load_problems(f"math:{data}/math500/test.jsonl")[0]
    assert first.id == "test/precalculus/807.json"
    assert first.answer == r"\left( 3, \frac{\pi}{2} \right)"
    assert first.metadata == {"subject": "Precalculus", "level": 2}


def test_a_table_with_named_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "quiz.parquet"
    pq.write_table(pa.table({"prompt": ["2+3?", "capital?"], "key": [5, 7], "other": [1, 2]}), path)
    problems = load_problems(f"{path}?question=prompt&answer=key&grader=numeric")
    assert problems == [Problem("quiz-1", "2+3?", "5", grader="numeric"),
                        Problem("quiz-2", "capital?", "7", grader="numeric")]


def test_a_saved_datasets_table(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"q": ["2+3?"], "a": ["5"]}).save_to_disk(tmp_path / "saved")
    assert load_problems(f"datasets:{tmp_path / 'saved'}?question=q&answer=a")[0].answer == "5"


def test_written_problems_are_read_back(tmp_path: Path) -> None:
    problems = [Problem("a", "2+3?", "5"), Problem("b", "π?", "3.14", solution="line\nline", grader="numeric",
                                                   metadata={"numbers": [1, 2]})]
    assert write_problems(tmp_path / "p.jsonl", problems) == 2
    assert read_problems(tmp_path / "p.jsonl") == problems
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]
    with pytest.raises(InputError, match="problem c: metadata"):
        write_problems(tmp_path / "p.jsonl", [*problems, Problem("c", "?", "1", metadata={"set": {1}})])
    assert read_problems(tmp_path / "p.jsonl") == problems  # the old file is whole


@pytest.mark.parametrize(("content", "message"), [
    ("", "expected at least one problem"),
    ('{"question": "a", "answer": "1"}\n{broken', "p.jsonl:2: expected one JSON object"),
    ('{"question": "a", "answer": "1"}\n\n[1]', "p.jsonl:3: expected a JSON object, found list"),
    ('{"question": "a", "answer": "1", "hint": 1}', "p.jsonl:1: unknown field 'hint'"),
    ('{"question": "a"}', "p.jsonl:1: expected a field 'answer'"),
    ('{"question": "", "answer": "1"}', "p.jsonl:1: question: expected text, found nothing"),
    ('{"question": "a", "answer": " "}', "p.jsonl:1: answer: expected text, found nothing"),
    ('{"question": "a", "answer": ["1"]}', "p.jsonl:1: answer: expected text or a number, found list"),
    ('{"id": "x", "question": "a", "answer": "1"}\n{"id": "x", "question": "b", "answer": "1"}', "'x' twice"),
])
def test_bad_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        load_problems(str(tmp_path / "p.jsonl"))


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'{"question": "a\xff"}')
    with pytest.raises(InputError, match=r"p\.jsonl:1: expected UTF-8 text, found byte 0xff"):
        load_problems(str(tmp_path / "p.jsonl"))


@pytest.mark.parametrize(("source", "message"), [
    ("none.jsonl", "none.jsonl: no such file"),
    ("gsm8k:none.jsonl", "none.jsonl: no such file"),
    ("reasoning-gym:countdwn", "no such task; did you mean 'countdown'"),
    ("reasoning-gym:countdown?min_number=3", "unknown option 'min_number'; did you mean 'min_numbers'"),
    ("reasoning-gym:countdown?min_numbers=five", "options refused"),
    ("reasoning-gym:countdown?size=0", "size >= 1"),
    ("none.jsonl?question", "expected NAME=VALUE, found 'question'"),
    ("none.jsonl?quest=a", "unknown option 'quest'"),
])
def test_bad_sources(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_problems(source)


def test_an_answer_without_its_mark(tmp_path: Path) -> None:
    path = lines(tmp_path / "g.jsonl", {"question": "Q", "answer": "#### 1"}, {"question": "Q", "answer": "five"})
    with pytest.raises(InputError, match=r"g\.jsonl:2: answer: expected '#### N'"):
        load_problems(f"gsm8k:{path}")


def test_puzzles_are_seeded_and_scored_by_their_own_verifier() -> None:
    problems = load_problems(f"{COUNTDOWN}&operators=+,-,*&size=4&seed=1")
    assert problems == load_problems(f"{COUNTDOWN}&operators=+,-,*&size=4&seed=1")
    with GraderPool(workers=1) as pool:
        assert pool.grade_many([(problem.answer, problem) for problem in problems]) == [True] * 4


def test_neighbouring_seeds_share_no_entries() -> None:
    """reasoning-gym draws entry i from seed + i: seeds 1 and 2 would share all but one."""
    sums = [load_problems(f"reasoning-gym:chain_sum?min_terms=5&max_terms=7&size=20&seed={seed}") for seed in (1, 2)]
    assert not {p.question for p in sums[0]} & {p.question for p in sums[1]}


def test_shared_problems_are_found() -> None:
    train = [Problem("a", "How many?", "1"), Problem("b", "Where?", "2")]
    check_disjoint({"train": train, "test": [Problem("a", "Who?", "1")]})
    with pytest.raises(InputError, match=r"problem sets train and test: .*'b' and 'c'"):
        check_disjoint({"train": train, "test": [Problem("c", "  where? ", "2")]})


def test_one_puzzle_in_two_wordings_is_one_puzzle() -> None:
    wordings = [Problem(name, f"{name}: make 10 of {numbers}", "", grader="reasoning-gym:countdown",
                        metadata={"numbers": numbers, "target": 10})
                for name, numbers in (("a", [1, 9]), ("b", [9, 1]))]
    assert distinct(wordings) == wordings[:1]
    assert distinct(wordings, exclude=wordings[1:]) == []


def test_a_limit_is_known_before_problems_are_made(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym")
    found = load_problems("reasoning-gym:chain_sum?size=99999999999", 2)
    assert found == load_problems("reasoning-gym:chain_sum?size=2")
    with pytest.raises(InputError, match="size: expected at most 10,000,000 problems, found 99,999,999,999"):
        load_problems("reasoning-gym:chain_sum?size=99999999999")


def test_a_file_that_names_code_to_run_is_refused_unless_that_is_said(tmp_path: Path) -> None:
    problem = Problem("a", "1+1?", "2", grader="python:somebody:elses")
    write_problems(tmp_path / "p.jsonl", [problem])
    with pytest.raises(InputError, match=r"p.jsonl:1: grader 'python:somebody:elses' runs Python code"):
        load_problems(str(tmp_path / "p.jsonl"))
    assert load_problems(f"{tmp_path / 'p.jsonl'}?run-python-graders=yes") == [problem]
    with pytest.raises(InputError, match="run-python-graders=yes"):
        load_problems(f"{tmp_path / 'p.jsonl'}?run-python-graders=no")
