"""Q#: value-guided decoding at token level (arXiv 2502.20548), as a logits processor.

    values = StepValues(engine, prefixes.score, questions, "newline")       # a step-level PRM, through text
    values = TokenValues(prefixes, policy_tokenizer)                        # a token-level value model, through ids
    model.generate(**inputs, logits_processor=[QSharp(values, eta=2.0, top_k=8)], do_sample=True)

    paths = q_sharp_decode(questions, engine, prefixes.score, SearchSettings(), eta=2.0)

The optimum of the entropy-regularised objective is pi*(token | prefix) proportional to pi0(token | prefix) exp(eta V of
prefix and token). So eta V is added to the logits of the `top_k` most likely continuations; the others are ruled out:

    eta V                         where the scores are V_eta already
    ln(1 - p + p e^eta)           where they are success rates p (the same, since V_eta = g_eta(p))

eta is the inverse temperature here as everywhere in erprm; the Q# paper calls 1/eta by that letter, so that its
"eta = 0.1" is eta = 10. Sampling at temperature T makes pi0 the policy at T: eta V is added to logits / T.

A step-level PRM is asked at its tag behind the unfinished step, which it was not trained on; a model trained on every
token (Q#'s own) is asked at the token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import LogitsProcessor

from erprm.engines.base import Request, Sampling, prefix_seed
from erprm.engines.batch import Writing
from erprm.errors import InputError
from erprm.prm.rows.tokens import EncodedRow
from erprm.prm.scoring.prefixes import PrefixScorer
from erprm.selection.search import Branch, Path, Refused, Scorer, SearchSettings, longer, score_each, scored_paths
from erprm.steps import split_steps
from erprm.values import Array, soft_mean, soft_values

Candidates = npt.NDArray[np.int64]
Values = Callable[[Sequence[Writing], Candidates], Array]


class Policy(Protocol):
    """An engine that lets its logits be changed: the transformers engine."""

    def sample(self, requests: Sequence[Request], sampling: Sampling, guide: Any = None) -> list[list[Any]]:
        """See `TransformersEngine.sample`."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids."""
        ...

    def ends(self, token: int) -> bool:
        """Whether a token ends a completion."""
        ...


class QSharp(LogitsProcessor):  # type: ignore[misc]
    """Adds eta V to the logits of the likeliest continuations and rules the others out.

    Args:
        values: samples under way and candidates [A, K] to scores [A, K] of each sample and candidate; NaN where there
            is none, which then counts as the others' soft mean under pi0, and -inf rules the candidate out.
        eta: inverse temperature, finite.
        top_k: K.
        scores_are: what `values` returns, "value" or "mean" (`erprm.values.SCORES_ARE`).
        temperature: of the sampling that follows.

    Raises:
        InputError: for arguments out of range.
    """

    def __init__(self, values: Values, eta: float, top_k: int = 8, scores_are: str = "value",
                 temperature: float = 1.0) -> None:
        if not np.isfinite(eta):
            raise InputError(f"eta: expected a finite number, found {eta}")
        if top_k < 1:
            raise InputError(f"top_k: expected at least 1, found {top_k}")
        self._values, self._eta, self._top_k, self._scores_are = values, eta, top_k, scores_are
        self._temperature = temperature or 1.0  # greedy: the likeliest token of pi* itself
        self._prompt: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """As `generate` calls it, one instance per call: ids [B, T] and logits [B, V] to logits.

        Row b is the sample of request b; what the first call holds is its prompt.
        """
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        writings = [Writing(number, row[: self._prompt], row[self._prompt:])
                    for number, row in enumerate(input_ids.tolist())]
        return self.guide(writings, scores)

    def guide(self, writings: Sequence[Writing], logits: Tensor) -> Tensor:
        """Logits [A, V] of A samples under way, with eta V added and all but `top_k` at -inf."""
        likely, tokens = logits.double().topk(min(self._top_k, logits.shape[-1]), dim=-1)
        scores = self._values(writings, tokens.cpu().numpy())
        log_probs = torch.log_softmax(likely / self._temperature, dim=-1).cpu().numpy()
        gains = np.stack([self._gain(*row) for row in zip(scores, log_probs, strict=True)])
        tilted = likely + self._temperature * torch.from_numpy(gains).to(likely)
        return torch.full_like(logits, -torch.inf).scatter(-1, tokens, tilted.to(logits.dtype))

    def _gain(self, scores: Array, log_probs: Array) -> Array:
        """eta V [K] of one sample's candidates, less the greatest, so that none is rounded away."""
        known, lost = np.isfinite(scores), np.isneginf(scores)
        values = np.zeros_like(scores)
        values[known] = soft_values(scores[known], self._eta, self._scores_are)
        if known.any():
            weights = np.exp(log_probs[known] - log_probs[known].max())
            values[~known] = soft_mean(values[known], self._eta, weights / weights.sum())
        gains = np.where(lost & ~lost.all(), -np.inf, self._eta * values)
        return np.asarray(gains - gains.max())


class StepValues:
    """Scores of a step-level PRM: what was written and a candidate, as text, cut into steps; the last step's score.

    Through text, so policy and PRM need no common tokenizer. A candidate that completes no character, or adds nothing
    to the steps, has the score of what is there.

    Args:
        policy: whose ids they are.
        score: (question, steps) pairs to step scores; `PrefixScorer.score` computes the new tokens alone.
        questions: by request.
        splitter: how the policy separates steps.
        refused: called for a candidate that the scorer cannot read, which is ruled out.
    """

    def __init__(self, policy: Policy, score: Scorer, questions: Sequence[str], splitter: str,
                 refused: Refused | None = None) -> None:
        self._policy, self._score, self._questions, self._splitter = policy, score, questions, splitter
        self._refused = refused

    def __call__(self, writings: Sequence[Writing], candidates: Candidates) -> Array:
        """[A, K], see `QSharp`."""
        texts = [[self._text(writing, token) for token in tokens] for writing, tokens in
                 zip(writings, candidates.tolist(), strict=True)]
        distinct = sorted({text for row in texts for text in row if text is not None})
        if self._refused is None:
            scores = dict(zip(distinct, self._score(distinct) if distinct else (), strict=True))
        else:
            scores = dict(zip(distinct, score_each(self._score, distinct), strict=True))  # type: ignore[arg-type]
        return np.array([[np.nan if text is None else self._value(text, scores[text]) for text in row]
                         for row in texts], np.float64)

    def _text(self, writing: Writing, token: int) -> tuple[str, tuple[str, ...]] | None:
        ids = list(writing.written) if self._policy.ends(token) else [*writing.written, token]
        steps = tuple(split_steps(self._policy.text(ids).rstrip("\ufffd"), self._splitter))
        return (self._questions[writing.request], steps) if any(steps) else None

    def _value(self, text: tuple[str, tuple[str, ...]], found: npt.NDArray[np.floating] | InputError) -> float:
        if isinstance(found, InputError):
            assert self._refused is not None
            self._refused(Branch(text[0], 0, Path(text[1])), found)
            return -np.inf
        return float(np.ravel(found[-1])[0])


class TokenValues:
    """Scores of a value model that shares the policy's tokenizer, read at the candidate token itself.

    Args:
        scorer: its base and head; the ids go in as they are, prompt and all.
        tokenizer: the policy's.

    Raises:
        InputError: for another tokenizer than the value model's.
    """

    def __init__(self, scorer: PrefixScorer, tokenizer: Any) -> None:
        own, other = scorer.scorer.checkpoint.tokenizer.get_vocab(), tokenizer.get_vocab()
        if own != other:
            token = next(iter(sorted(dict(own.items() ^ other.items()))))
            raise InputError(f"value model: expected the policy's tokenizer, found that token {token!r} is "
                             f"{own.get(token)} in one and {other.get(token)} in the other")
        self._scorer = scorer

    def __call__(self, writings: Sequence[Writing], candidates: Candidates) -> Array:
        """[A, K], see `QSharp`."""
        rows = [EncodedRow(np.array([*writing.prompt, *writing.written, token], np.int64),
                           np.array([len(writing.prompt) + len(writing.written)], np.int64))
                for writing, tokens in zip(writings, candidates.tolist(), strict=True) for token in tokens]
        found = [float(np.ravel(scores)[0]) for scores in self._scorer.score_ids(rows)]
        return np.array(found).reshape(candidates.shape)


def q_sharp_decode(questions: Sequence[str], policy: Policy, score: Scorer, settings: SearchSettings, eta: float, *,
                   top_k: int = 8, scores_are: str = "value", advance: Callable[[int], object] | None = None,
                   refused: Refused | None = None) -> list[list[Path]]:
    """Draw `settings.trees` solutions to every question, each token from the tilted policy.

    Args:
        settings: `trees`, `splitter`, `sampling`, `max_steps` and `seed`; a solution may take max_tokens * max_steps
            tokens.
        eta, top_k, scores_are: see `QSharp`.

    Returns:
        For each question its solutions with their step scores, in the order of the trees.
    """
    sampling = Sampling(settings.sampling.temperature, settings.sampling.top_p,
                        settings.sampling.max_tokens * settings.max_steps, settings.sampling.stop)
    processor = QSharp(StepValues(policy, score, questions, settings.splitter, refused), eta, top_k, scores_are,
                       sampling.temperature)
    requests = [Request(question, "", settings.trees, prefix_seed(settings.seed, "q-sharp", question))
                for question in questions]
    written = policy.sample(requests, sampling, processor.guide)
    paths = [[longer(Path(), completion.text, "", settings, completion.finish_reason == "stop")
              for completion in of_question] for of_question in written]
    if advance is not None:
        advance(len(questions))
    return scored_paths(score, [Branch(question, 0, Path()) for question in questions],
                        [[path for path in of_question if path is not None and path.steps] for of_question in paths],
                        refused)
