"""Options of the model that grades, for the `judge:` parts of a composed reward, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.cli.engine_options import SamplerConfig, check_policy, engine_with, parse_options
from erprm.cli.prompt_options import PromptConfig, template_of
from erprm.engines import ENGINES, Sampling, check_options
from erprm.errors import InputError
from erprm.grading.composite import JUDGE
from erprm.judging.prompt import GRADE_PATTERN, GradePrompt

if TYPE_CHECKING:
    from erprm.judging.grader import JudgeGrader


@dataclass(frozen=True)
class JudgeOptions:
    """Which model grades, and how."""

    judge_policy: str | None = option(None, help="with --grader ...judge:PROMPT_FILE...: the judging model, a folder "
                                                 "or a hub name")
    judge_store: str | None = option(None, help="where the judge's answers are kept, from which a run goes "
                                                "on: a folder or an fsspec URL", writes="folder")
    judge_engine: str = option("transformers", help="by which the judge writes", choices=ENGINES)
    judge_engine_options: tuple[str, ...] = option((), help="more options of that engine as name=value")
    judge_prompt: str = option("plain", help="how the judge is asked: plain text, or the user's turn of a chat",
                               choices=("plain", "chat"))
    judge_pattern: str = option(GRADE_PATTERN, help="regular expression whose group is the verdict: a number from 0 to "
                                                    "1, yes or no, right or wrong; its last match counts")
    judge_max_tokens: int = option(1024, help="longest answer of the judge, in tokens", least=1)
    judge_malformed: float = option(0.2, help="largest share of its answers without a verdict", least=0, most=1)


def judge_of(options: JudgeOptions, parts: Iterable[str]) -> JudgeGrader | None:
    """The judge of those parts that are a judge's; None where none is. Nothing is loaded yet. Raises InputError."""
    prompts = {part: GradePrompt(read_prompt(part.removeprefix(JUDGE)), options.judge_pattern)
               for part in parts if part.startswith(JUDGE)}
    if not prompts:
        if options.judge_policy is not None:
            raise InputError("judge_policy: expected a --grader with judge:PROMPT_FILE beside it, found none")
        return None
    policy, place = options.judge_policy, options.judge_store
    if policy is None or place is None:
        lacking = "judge-policy" if policy is None else "judge-store"
        raise InputError(f"grader: expected --{lacking} for {next(iter(prompts))!r:.80}, found none")
    from erprm.judging.grader import JudgeGrader

    sampling = SamplerConfig(engine=options.judge_engine, engine_options=options.judge_engine_options)
    check_options(sampling.engine, parse_options(sampling.engine_options))
    template = template_of(PromptConfig(prompt=options.judge_prompt))
    check_policy(template, policy)
    return JudgeGrader(prompts, lambda: engine_with(sampling, policy, template),
                       Sampling(temperature=0.0, max_tokens=options.judge_max_tokens), place,
                       malformed=options.judge_malformed)


def read_prompt(path: str) -> str:
    """A judge's question from a file. Raises InputError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"judge prompt: {path}: expected a file of text, found {error}") from error
