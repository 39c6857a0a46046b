"""One tiny random model of every family of causal language models that the installed transformers makes small.

FAMILIES has what each configuration needs besides the common shape; windows are shorter than the rows of the tests.
The table of docs/families.md, from the folder tests:

    PYTHONPATH=..:. python -m prm.families
"""

import dataclasses
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from prm.rows_of_steps import rows
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from erprm.errors import InputError
from erprm.prm.attention.spans import sliding_window
from erprm.prm.checkpoints.forms import open_checkpoint
from erprm.prm.export import export, stock_scores
from erprm.prm.logits import logit_rule
from erprm.prm.model import PRM, check_supported
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import StepRow
from erprm.values.spec import TargetSpec

TOKENIZER = tiny.tokenizer()
WINDOW = 8
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.2,
         "vocab_size": len(TOKENIZER), "bos_token_id": TOKENIZER.bos_token_id, "eos_token_id": TOKENIZER.eos_token_id,
         "pad_token_id": TOKENIZER.pad_token_id}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
           "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1}
LATENT = {"num_key_value_heads": 4, "head_dim": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8,
          "qk_rope_head_dim": 4, "v_head_dim": 8,
          "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
          "num_experts_per_tok": 2, "moe_intermediate_size": 16}
WINDOWED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {}, "mistral": {"sliding_window": WINDOW}, "qwen2": {"use_sliding_window": True, **WINDOWED},
    "qwen3": {"use_sliding_window": True, **WINDOWED}, "gemma": {},
    "gemma2": {**WINDOWED, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0},
    "gemma3_text": {**WINDOWED, "query_pre_attn_scalar": 8}, "phi": {}, "phi3": {"sliding_window": WINDOW},
    "phimoe": EXPERTS, "olmo": {}, "olmo2": {}, "olmo3": WINDOWED, "olmoe": EXPERTS,
    "granite": {"logits_scaling": 3.0}, "granitemoe": {**EXPERTS, "logits_scaling": 3.0},
    "cohere": {"logit_scale": 0.3}, "cohere2": {**WINDOWED, "logit_scale": 0.3}, "stablelm": {},
    "starcoder2": {"sliding_window": WINDOW}, "smollm3": {"no_rope_layers": [1, 0]}, "glm": {}, "glm4": {},
    "glm4_moe": {**LATENT, "num_key_value_heads": 2, "head_dim": 8},
    "deepseek_v2": LATENT, "deepseek_v3": LATENT, "mixtral": EXPERTS, "qwen2_moe": EXPERTS,
    "qwen3_moe": EXPERTS, "gpt_oss": {**EXPERTS, **WINDOWED}, "ernie4_5": {}, "exaone4": WINDOWED, "helium": {},
    "seed_oss": {}, "arcee": {}, "nemotron": {}, "persimmon": {}, "hunyuan_v1_dense": {}, "gpt2": {}, "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32}, "mamba": {},
}


def causal(family: str) -> PreTrainedModel:
    """The family's model with random weights in float32."""
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config_of(family), dtype=torch.float32).eval()


def config_of(family: str) -> PreTrainedConfig:
    """The family's tiny configuration."""
    return AutoConfig.for_model(family, **{**SHAPE, **FAMILIES[family]})


def try_family(family: str, folder: Path) -> str:
    """Train two steps, save, load, score and export; the family's line of the table.

    Raises:
        AssertionError: where scores aren't the stock model's own.
    """
    try:
        saved_as = check_supported(config_of(family))
    except InputError as error:
        trainer_refuses(family, folder, str(error))
        return f"| {family} | no | | | {error} |"
    model = causal(family)
    scored = rows(3, 3, seed=2)
    texts = [(row.prompt, row.steps) for row in scored]
    model.save_pretrained(folder / "policy")
    TOKENIZER.save_pretrained(folder / "policy")
    policy = PRMScorer(folder / "policy", form="causal-lm", spec=PRMSpec(loss="vocab"), device="cpu")
    stock = np.concatenate(stock_scores(folder / "policy", "causal-lm", policy.checkpoint, texts))
    np.testing.assert_allclose(np.concatenate(policy.score(texts)), stock, atol=1e-5)
    trainer = trainer_of(model, folder)
    if logit_rule(model.config).cap is None:  # the rows begin as the policy's own
        np.testing.assert_allclose(own_scores(trainer, scored), stock, atol=1e-5)
    trainer.train()
    assert trainer.state.global_step == 2
    trainer.save_model(str(folder / "prm"))
    own = own_scores(trainer, scored)
    assert np.abs(own - stock).max() > 1e-4
    scorer = PRMScorer(folder / "prm", device="cpu")
    np.testing.assert_allclose(np.concatenate(scorer.score(texts)), own, atol=1e-5)
    trainer.model = PRM.load(folder / "prm", TOKENIZER)
    np.testing.assert_allclose(own_scores(trainer, scored), own, atol=1e-5)
    for layout in ("packed", "shared"):
        trainer.layout = layout
        np.testing.assert_allclose(own_scores(trainer, scored), own, atol=1e-5)
    report = export(folder / "prm", folder / "causal", "causal-lm", texts)
    assert report.difference <= 1e-5
    np.testing.assert_allclose(np.concatenate(stock_scores(
        folder / "causal", "causal-lm", open_checkpoint(folder / "causal"), texts)), own, atol=1e-5)
    windowed = "yes" if sliding_window(model.config) == WINDOW else ""
    exports = "causal-lm, classification" if scorer.checkpoint.form == "classification" else "causal-lm"
    return f"| {family} | yes | {saved_as} | {windowed} | {exports} |"


def trainer_of(model: PreTrainedModel, folder: Path) -> PRMTrainer:
    """A trainer for two steps."""
    arguments = PRMConfig(str(folder / "run"), per_device_train_batch_size=4, max_steps=2, learning_rate=1e-2,
                          report_to="none", disable_tqdm=True, save_strategy="no", layout="padded")
    return PRMTrainer(model, arguments, rows(2, 3), processing_class=TOKENIZER)


def own_scores(trainer: PRMTrainer, scored: list[StepRow]) -> np.ndarray:
    """Scores of the trainer's model for all steps; every step has a label."""
    labelled = [dataclasses.replace(row, successes=None, trials=None, labels=(1.0,) * len(row.steps)) for row in scored]
    target, trainer.target = trainer.target, TargetSpec("labels")
    predictions = trainer.evaluation_loop(trainer.get_eval_dataloader(labelled), "").predictions
    trainer.target = target
    return predictions


def trainer_refuses(family: str, folder: Path, reason: str) -> None:
    """Training refuses for the same reason, before it reads a row."""
    with pytest.raises(InputError, match=re.escape(reason)):
        trainer_of(causal(family), folder)


def table() -> str:
    """All families."""
    lines = ["| family | trains | saved as | tested with a window shorter than its rows | export, or why not |",
             "|---|---|---|---|---|"]
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(try_family(family, Path(folder)))
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
