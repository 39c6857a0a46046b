"""What labelling costs besides the engine: planning, grading, Parquet, counting, at 10,000 prefixes.

    python bench/label_overhead.py --out bench/results/label_overhead.json

An engine that answers at once from a list of texts takes the policy's place, so that everything measured is our own
code. Completions differ in their texts, their answers are twenty per problem.

The share of a real run depends on the speed of its engine, which is not measured here: the result states the share for
the speed given by --tokens-per-second. Its default, 17,000, is an assumption about a policy of 0.7 M parameters on two
cores; a slower engine makes the share smaller. Grading and writing run beside the engine in a second thread; the
share takes nothing as hidden behind it.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from erprm.engines.base import Completion, Request, Sampling
from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.rollouts.run import LabelOptions, label
from erprm.rows import StepRow


class ReplayEngine:
    """Answers at once with prepared texts."""

    def __init__(self, texts: Sequence[str], tokens: int) -> None:
        self._completions = [Completion(text, "stop", tokens) for text in texts]
        self.seconds = 0.0  # of the processor

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "replay"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        started, many = time.thread_time(), len(self._completions)
        answers = [[self._completions[(request.seed + i) % many] for i in range(request.n)] for request in requests]
        self.seconds += time.thread_time() - started
        return answers

    def close(self) -> None:
        pass


def work(prefixes: int) -> tuple[list[Problem], list[StepRow]]:
    """Problems with four solutions of four steps that share their beginnings: 8 distinct unfinished prefixes each."""
    problems = [Problem(id=f"p{i}", question=f"Tom has {i} apples and buys {i % 17} more. How many?",
                        answer=str(i + i % 17), grader="numeric") for i in range(prefixes // 8)]
    rows = [StepRow(prompt=problem.question, problem_id=problem.id, outcome=float(s == 0), steps=(
        "Tom starts with the apples that he has.", f"He buys some more, way {s // 2}.", f"The sum, by hand {s}.",
        f"#### {s}")) for problem in problems for s in range(4)]
    rows += [StepRow(prompt=problem.question, problem_id=problem.id, outcome=0.0, steps=("Guess.", "#### 1"))
             for problem in problems]
    return problems, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefixes", type=int, default=10_000)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40, help="tokens of a completion")
    parser.add_argument("--tokens-per-second", type=float, default=17_000.0, help="the engine's speed, assumed")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    problems, rows = work(given.prefixes)
    chance = random.Random(0)
    texts = [f"He buys some more.\nThen he counts them all, {chance.randint(0, 99)} times.\n"
             f"#### {chance.randint(0, 19)}" for _ in range(5003)]
    engine = ReplayEngine(texts, given.tokens)
    sampling, options = Sampling(max_tokens=given.tokens), LabelOptions(n=given.n)
    with tempfile.TemporaryDirectory() as folder, GraderPool(workers=1) as grader:
        started, cpu = time.perf_counter(), time.process_time()
        report = label(problems, rows, engine, sampling, folder, grader, options)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        started = time.perf_counter()
        label(problems, rows, engine, sampling, folder, grader, options)
        resumed = time.perf_counter() - started
    own = cpu - engine.seconds
    engine_seconds = report.completions * given.tokens / given.tokens_per_second
    result = {
        "machine": platform.processor() or platform.machine(), "prefixes": report.prefixes,
        "completions": report.completions, "own_seconds": round(own, 3), "wall_seconds": round(seconds, 3),
        "microseconds_per_completion": round(own / report.completions * 1e6, 2),
        "resume_seconds": round(resumed, 3), "engine_tokens_per_second": given.tokens_per_second,
        "engine_seconds": round(engine_seconds, 1), "share": round(own / (own + engine_seconds), 4),
    }
    print(json.dumps(result, indent=2))
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(given.out)


if __name__ == "__main__":
    main()
