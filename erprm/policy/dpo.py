"""Direct preference optimisation of a policy on pairs that a process reward model chose, with TRL's DPOTrainer.

    report = train_dpo("models/policy", preference_pairs(rows, scores), "models/dpo", SFTOptions(max_steps=200))

Pairs are made into ids with the prompt template that sampling uses, as solutions are in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError, import_extra
from erprm.policy.fine_tuning import SFTOptions, encode, load_policy, policy_tokenizer, save

Pair = Mapping[str, Any]
SIDES = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class DPOReport:
    """Pairs kept, pairs dropped because a side was too long, and the share of the last batch whose chosen side has the
    higher implicit reward."""

    pairs: int
    dropped: int
    ahead: float


def encode_pair(tokenizer: Any, pair: Pair) -> dict[str, list[int]]:
    """A pair in TRL's preference format (texts, or chat turns) as `prompt_ids`, `chosen_ids` and `rejected_ids`.

    A fork (`erprm.policy.preferences.step_forks`) has the steps before it in "prefix", and in "ended" the sides behind
    which the solution is over.
    """
    template, question = _asked(pair["prompt"])
    sides = {f"{side}_ids": encode(tokenizer, template, question, _text(pair[side]), pair.get("prefix", ""),
                                   side in pair.get("ended", SIDES)) for side in SIDES}
    return {"prompt_ids": sides["chosen_ids"][0], **{name: completion for name, (_, completion) in sides.items()}}


def train_dpo(model: str | Path, pairs: Sequence[Pair], out: str | Path, options: SFTOptions, beta: float = 0.1,
              ) -> DPOReport:
    """Train the causal LM at `model` on `pairs` (see `erprm.policy.preferences`) and save it in `out`.

    Args:
        options: as for supervised fine-tuning.
        beta: strength of the KL penalty, DPO's beta = 1 / eta of ER-PRM (arXiv 2305.18290, eq. 7).

    Raises:
        InputError: when there is no pair, or none that fits; for a template that the model refuses; for a NaN loss.
        MissingExtraError: without TRL.
    """
    if not pairs:
        raise InputError("pairs: expected at least one preference pair, found none")
    trl = import_extra("trl", "trl")
    import datasets

    from erprm.prm.training.saving import WholeCheckpoints

    tokenizer = policy_tokenizer(model, _asked(pairs[0]["prompt"])[0])
    encoded = [encode_pair(tokenizer, pair) for pair in pairs]
    lengths = [len(item["prompt_ids"]) + max(len(item["chosen_ids"]), len(item["rejected_ids"])) for item in encoded]
    kept = [item for item, length in zip(encoded, lengths, strict=True) if length <= options.max_length]
    if not kept:
        raise InputError(f"pairs: expected one of at most {options.max_length} tokens, found none of {len(pairs)}")
    policy, vocabulary = load_policy(model, options.dtype)
    batches = options.batches(min(max(lengths), options.max_length), vocabulary, rows_each=2)

    class Trainer(WholeCheckpoints, trl.DPOTrainer):  # type: ignore[misc, name-defined]
        def _prepare_dataset(self, dataset: Any, *arguments: Any) -> Any:
            return dataset  # it holds ids already

    arguments = trl.DPOConfig(**options.arguments(out, batches), beta=beta, max_length=None, logging_steps=1)
    trainer = Trainer(model=policy, processing_class=tokenizer, args=arguments,
                      train_dataset=datasets.Dataset.from_list(kept))
    trainer.train()
    save(trainer, out)
    ahead = [entry["rewards/accuracies"] for entry in trainer.state.log_history if "rewards/accuracies" in entry]
    return DPOReport(len(kept), len(pairs) - len(kept), float(ahead[-1]))


def _asked(prompt: Any) -> tuple[PromptTemplate, str]:
    """The template and question that a pair's prompt stands for: a text as it is, or a chat's turns."""
    if isinstance(prompt, str):
        return PromptTemplate("plain", "{question}"), prompt
    system = prompt[0]["content"] if prompt[0]["role"] == "system" else None
    return PromptTemplate("chat", "{question}", system), str(prompt[-1]["content"])


def _text(side: Any) -> str:
    return side if isinstance(side, str) else str(side[-1]["content"])
