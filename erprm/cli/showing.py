"""What the policy sees and writes, for --show: prompts as tokens, solutions cut into steps; and the dry run's rate."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.cli.engine_options import EngineConfig, duration, engine_of, sampling_of
from erprm.cli.prompt_options import template_of
from erprm.engines import Request
from erprm.engines.rate import Rate, measure
from erprm.problems import Problem
from erprm.rows import StepRow
from erprm.splitters import choose_splitter
from erprm.steps import AUTO, Steps, prefix_spans, split_steps
from erprm.terminal import printable

_WIDTH, _MOST_PIECES = 116, 400
_CHEAP = 1 << 30  # bytes of weights that load in seconds


@dataclass(frozen=True)
class ShowConfig(EngineConfig):
    """How much of what the policy sees and writes is printed."""

    show: int = option(0, bare=2, least=0, help="print so many prompts as the tokens that the policy sees, and so many "
                                                "solutions cut into steps (--show alone: 2); also with --dry-run")


def show_prompts(config: ShowConfig, prompts: Iterable[tuple[str, str]]) -> None:
    """Print the first `show` (question, prefix) as the tokens that the policy continues: ids and pieces."""
    shown = list(itertools.islice(prompts, config.show))
    if not shown:
        return
    from erprm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(config.policy)
    for question, prefix in shown:
        ids = template_of(config).ids(tokenizer, question, prefix)
        pieces = [f"{index} {printable(str(tokenizer.convert_ids_to_tokens(index)))}" for index in ids]
        print(f"prompt, {len(ids):,} tokens ({config.prompt}):")
        half = _MOST_PIECES // 2
        if len(pieces) > _MOST_PIECES:
            pieces = [*pieces[:half], f"... {len(pieces) - 2 * half:,} more ...", *pieces[-half:]]
        _print_filled(pieces)


def show_steps(title: str, steps: Sequence[str], gaps: Sequence[str] | None, splitter: str) -> None:
    """Print a solution cut where its steps end: each line is what the policy wrote, white space as its code."""
    known = steps.gaps if isinstance(steps, Steps) else gaps
    print(f"{printable(title)}, {len(steps):,} steps by {splitter}:")
    spans = prefix_spans(steps, known) if known is not None else steps
    for number, span in enumerate(spans, start=1):
        print(f"  {number:>3} |{printable(span)}|")


def show_rows(config: ShowConfig, rows: Iterable[StepRow], splitter: str) -> None:
    """Print the first `show` rows."""
    for row in itertools.islice(rows, config.show):
        show_steps(f"solution {row.solution_id or 'without an id'}", row.steps, row.gaps, splitter)


def show_references(config: ShowConfig, problems: Iterable[Problem]) -> None:
    """Print the reference solutions of the first `show` problems that have one."""
    for problem in itertools.islice((problem for problem in problems if problem.solution), config.show):
        show_text(config, f"reference solution to {problem.id}", problem.solution or "")


def show_text(config: ShowConfig, title: str, text: str) -> None:
    """Print a text cut as it would be."""
    splitter = choose_splitter([text])[0] if config.splitter == AUTO else config.splitter
    show_steps(title, split_steps(text, splitter), None, splitter)


def say_rate(config: EngineConfig, tokens: float, requests: Sequence[Request]) -> Rate | None:
    """Print how long `tokens` take: at the rate that was given, or else that of this machine, or else unknown.

    Returns:
        What was measured.
    """
    rate = None
    if config.tokens_per_second is None and requests and _is_cheap(config):
        engine = engine_of(config)
        rate = measure(engine, requests, sampling_of(config))
        engine.close()
    known = config.tokens_per_second or (rate.tokens_per_second if rate else None)
    if known is None:
        print(f"time unknown: the rate of {config.engine} with {config.policy} is not measured in a dry run; "
              "--tokens-per-second takes yours")
    else:
        print(f"about {duration(tokens / known)} at {rate or f'{known:,.0f} tokens/s'}, with {config.engine} and "
              f"{config.policy}")
    return rate


def _is_cheap(config: EngineConfig) -> bool:
    """Whether the policy loads in seconds: into this process, from a folder with little in it."""
    folder = Path(config.policy)
    weights = [path.stat().st_size for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)]
    return config.engine == "transformers" and 0 < sum(weights) <= _CHEAP


def _print_filled(pieces: Sequence[str]) -> None:
    line = " "
    for piece in pieces:
        if len(line) + 2 + len(piece) > _WIDTH and line.strip():
            print(line)
            line = " "
        line += f"  {piece}"
    print(line)
