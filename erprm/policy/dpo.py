"""Direct preference optimisation of a policy on pairs that a process reward model chose, with TRL's DPOTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erprm.errors import InputError, import_extra
from erprm.policy.sft import SFTOptions


def train_dpo(model: str | Path, pairs: Sequence[dict[str, str]], out: str | Path, options: SFTOptions,
              beta: float = 0.1) -> float:
    """Train the causal LM at `model` on `pairs` (see `erprm.policy.preferences`) and save it in `out`.

    Args:
        options: as for supervised fine-tuning.
        beta: strength of the KL penalty, DPO's beta = 1 / eta of ER-PRM (arXiv 2305.18290, eq. 7).

    Returns:
        The share of pairs whose chosen side has the higher implicit reward at the end.

    Raises:
        InputError: when there is no pair.
        MissingExtraError: without TRL.
    """
    if not pairs:
        raise InputError("pairs: expected at least one preference pair, found none")
    trl = import_extra("trl", "trl")
    import datasets
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    policy = transformers.AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    trainer = trl.DPOTrainer(
        model=policy, processing_class=tokenizer, train_dataset=datasets.Dataset.from_list(list(pairs)),
        args=trl.DPOConfig(
            output_dir=str(out), max_steps=options.max_steps, num_train_epochs=options.epochs, beta=beta,
            per_device_train_batch_size=options.batch_size, gradient_accumulation_steps=options.gradient_accumulation,
            learning_rate=options.learning_rate, warmup_steps=options.warmup_steps, bf16=options.bf16,
            gradient_checkpointing=options.gradient_checkpointing, max_length=options.max_length, logging_steps=1,
            save_strategy="no", seed=options.seed, report_to=options.report_to))
    trainer.train()
    trainer.save_model(str(out))
    accuracies = [entry["rewards/accuracies"] for entry in trainer.state.log_history if "rewards/accuracies" in entry]
    return float(accuracies[-1])
