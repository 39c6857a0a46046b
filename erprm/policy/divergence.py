"""How far a policy has gone from another one: the KL divergence along its own solutions.

    far = divergence("models/raft/iteration-2/policy", "models/policy", rows)       # rows that the first one wrote
    far.solution, far.token                                                         # nats
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.policy.fine_tuning import encode, load_policy, policy_tokenizer
from erprm.rows import StepRow
from erprm.steps import join_steps

_LOGITS_BYTES = 1 << 30  # of both models' float32 logits in one forward pass


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(policy || reference) in nats: of a whole solution on average, and of a token."""

    solution: float
    token: float


@torch.inference_mode()
def divergence(policy: str | Path, reference: str | Path, rows: Sequence[StepRow],
               template: PromptTemplate | None = None, splitter: str = "newline") -> Divergence:
    """Estimated on solutions that `policy` wrote: the sum over their tokens of the exact divergence of the next token.

    That has the same mean as the log ratio of the solutions' probabilities and a smaller variance, and is never
    negative. Both models are run in float32.

    Raises:
        InputError: for no rows, or models of different vocabularies.
    """
    if not rows:
        raise InputError("rows: expected solutions of the policy, found none")
    template = template or PromptTemplate()
    tokenizer = policy_tokenizer(policy, template)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [load_policy(folder, "float32")[0].to(device).eval() for folder in (policy, reference)]
    sizes = [model.config.get_text_config().vocab_size for model in models]
    if sizes[0] != sizes[1]:
        raise InputError(f"{policy} and {reference}: expected one vocabulary, found {sizes[0]} and {sizes[1]} tokens")
    encoded = sorted((encode(tokenizer, template, row.prompt, join_steps(row.steps, splitter, gaps=row.gaps),
                             ended=row.finished) for row in rows), key=lambda pair: len(pair[0]) + len(pair[1]))
    total, tokens, start = 0.0, 0, 0
    while start < len(encoded):
        stop = start + 1
        while stop < len(encoded) and (stop + 1 - start) * sum(map(len, encoded[stop])) * sizes[0] * 8 <= _LOGITS_BYTES:
            stop += 1
        total += _batch(models, encoded[start:stop], device)
        tokens += sum(len(completion) for _, completion in encoded[start:stop])
        start = stop
    return Divergence(total / len(encoded), total / max(tokens, 1))


def _batch(models: Sequence[torch.nn.Module], pairs: Sequence[tuple[list[int], list[int]]], device: torch.device,
           ) -> float:
    longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    counted = torch.zeros(len(pairs), longest, dtype=torch.bool)  # positions whose next token is the completion's
    for row, (prompt, completion) in enumerate(pairs):
        length = len(prompt) + len(completion)
        ids[row, :length] = torch.tensor(prompt + completion)
        counted[row, len(prompt) - 1: length - 1] = True
    ids, counted = ids.to(device), counted.to(device)  # padding stands behind: causal attention never sees it
    ours, theirs = (model(input_ids=ids).logits[counted].float().log_softmax(-1) for model in models)
    return float((ours.exp() * (ours - theirs)).sum(-1).clamp(min=0.0).double().sum())
