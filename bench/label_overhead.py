"""What labelling costs besides the engine: planning, grading, Parquet, counting, at 10,000 prefixes.

    python bench/label_overhead.py --output bench/results/label_overhead.json
    python bench/label_overhead.py --engines replay          # without vLLM

Two runs of the real `label()`, with store, ledger and grading:

"vllm": the real vLLM, on the CPU where there is no GPU, with a random policy of 0.5 M parameters: about the fastest
engine there is, so that the share of our own code is about the largest. `share` is the wall time of the run that is not
spent inside `LLM.generate`; `own_share` is all processor time of this process and of the grader's outside of
`LLM.generate`'s own thread, whether or not it was hidden behind the engine, over the wall time.

"replay": an engine that answers at once from a list of texts, so that everything measured is our own code. Completions
differ in their texts, their answers are twenty per problem.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common

from erprm.demo.policy import write_untrained
from erprm.engines import load_engine
from erprm.engines.base import Completion, Engine, Request, Sampling
from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.problems.tasks import Task
from erprm.rollouts.run import LabelOptions, label
from erprm.rows import StepRow


class Clock:
    """Wall and processor time spent inside a call, in the thread that makes it."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def around(self, call: Any) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.wall += time.perf_counter() - wall
                self.processor += time.thread_time() - processor
        return timed


class ReplayEngine:
    """Answers at once with prepared texts."""

    def __init__(self, texts: Sequence[str], tokens: int) -> None:
        self._completions = [Completion(text, "stop", tokens) for text in texts]

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "replay"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        many = len(self._completions)
        return [[self._completions[(request.seed + i) % many] for i in range(request.n)] for request in requests]

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


def replay(tokens: int, clock: Clock) -> Engine:
    chance = random.Random(0)
    engine = ReplayEngine([f"He buys some more.\nThen he counts them all, {chance.randint(0, 99)} times.\n"
                           f"#### {chance.randint(0, 19)}" for _ in range(5003)], tokens)
    engine.sample = clock.around(engine.sample)  # type: ignore[method-assign]
    return engine


def vllm(rows: Sequence[StepRow], folder: Path, clock: Clock) -> Engine:
    """A random policy that knows the words of the rows."""
    texts = {text for row in rows for text in (row.prompt, *row.steps)}
    words = {word for text in texts for word in re.findall("[A-Za-z]+", text)}
    task = Task("overhead", {}, lambda _: "", lambda _: None, lambda *_: None, tuple(sorted(words, reverse=True)), 256)
    write_untrained(folder, task, seed=0, hidden=96, layers=4)
    engine: Any = load_engine("vllm", str(folder), max_model_len=256)
    engine.llm.generate = clock.around(engine.llm.generate)
    return engine  # type: ignore[no-any-return]


def processor_time() -> float:
    """Seconds of this process and of its finished children."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def measured(name: str, prefixes: int, n: int, tokens: int) -> dict[str, Any]:
    """One run, and a second one that finds everything done."""
    problems, rows = work(prefixes)
    sampling, options, clock = Sampling(max_tokens=tokens), LabelOptions(n=n), Clock()
    with tempfile.TemporaryDirectory() as folder:
        engine = replay(tokens, clock) if name == "replay" else vllm(rows, Path(folder) / "policy", clock)
        store = Path(folder) / "store"
        before = processor_time()
        with GraderPool(workers=1) as grader:
            started = time.perf_counter()
            report = label(problems, rows, engine, sampling, store, grader, options)
            seconds = time.perf_counter() - started
        own = processor_time() - before - clock.processor
        with GraderPool(workers=1) as grader:
            started = time.perf_counter()
            label(problems, rows, engine, sampling, store, grader, options)
            resumed = time.perf_counter() - started
        engine.close()
    result = {
        "prefixes": report.prefixes, "completions": report.completions, "tokens": report.tokens,
        "wall_seconds": round(seconds, 3), "own_processor_seconds": round(own, 3),
        "microseconds_per_completion": round(own / report.completions * 1e6, 2), "resume_seconds": round(resumed, 3),
    }
    if name == "vllm":
        result |= {"engine_wall_seconds": round(clock.wall, 3),
                   "engine_tokens_per_second": round(report.tokens / clock.wall, 1),
                   "share": round(1 - clock.wall / seconds, 5), "own_share": round(own / seconds, 5)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=["replay", "vllm"], default=["replay", "vllm"])
    parser.add_argument("--prefixes", type=int, default=10_000)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=16, help="most tokens of a completion")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    result: dict[str, Any] = {"environment": common.environment()}
    for name in given.engines:
        result[name] = measured(name, given.prefixes, given.n, given.tokens)
        print(json.dumps({name: result[name]}, indent=2), flush=True)
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
