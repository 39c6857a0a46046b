"""The fast step loss for an existing Trainer script: one line, the script stays as it is.

    model = AutoModelForTokenClassification.from_pretrained(path, num_labels=2)
    erprm.patch(model)                                     # or a causal language model: patch(model, tokenizer)
    Trainer(model=model, ...).train()

The script's batches are [B, T]: `labels` hold the target in [0, 1] at each step tag (0 and 1 of a classification script
are such targets) and -100 elsewhere, at the tag itself, not shifted. A classifier with 1 + H labels learns H etas from
labels [B, T, H]. The loss is then computed at the tags alone, over the head's rows or the rows of " +" and " -", and
normalised over the whole optimiser step.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from erprm.errors import InputError
from erprm.prm.attention import tags_only
from erprm.prm.logits import uncapped
from erprm.prm.losses import Learnt, pair_loss
from erprm.prm.model import StepOutput
from erprm.prm.rows.tokens import StepTokens
from erprm.steps import StepTags

IGNORE = -100


def patch(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None, tags: StepTags | None = None,
          ) -> PreTrainedModel:
    """Make `model(..., labels=...)` compute the step loss; without labels the model is as before.

    Args:
        model: a `...ForTokenClassification` (class 0 is a bad step, the others a good one), or a causal language model.
        tokenizer, tags: name the label tokens of a causal language model.

    Returns:
        The same model.

    Raises:
        InputError: for a model that is neither, or a causal language model without its tokenizer.
    """
    base = getattr(model, model.base_model_prefix, None)
    score = getattr(model, "score", None)
    output = model.get_output_embeddings()
    scale = 1.0
    if isinstance(score, nn.Linear) and score.weight.shape[0] >= 2:
        rows: tuple[int, int] | None = None
    elif isinstance(output, nn.Linear):
        if tokenizer is None:
            raise InputError("tokenizer: expected the tokenizer of a causal language model, to find its label tokens")
        tokens = StepTokens.from_tokenizer(tokenizer, tags)
        rows = (tokens.minus_id, tokens.plus_id)
        scale = uncapped(model.config, "the patched loss").scale
    else:
        raise InputError(f"model: expected a token classifier with 2 or more labels or a causal language model, "
                         f"found {type(model).__name__}")
    at_tags = tags_only.install(base)
    model.accepts_loss_kwargs = True
    model.forward = functools.partial(_forward, model, rows, scale, at_tags)
    return model


def _forward(model: Any, rows: tuple[int, int] | None, scale: float, at_tags: bool, input_ids: Tensor | None = None,
             attention_mask: Tensor | None = None, labels: Tensor | None = None,
             num_items_in_batch: Tensor | float | None = None, **kwargs: Any) -> Any:
    """The patched forward: `rows` are the label ids (minus, plus) in the output head, None for a classifier's.

    `scale` is what the model multiplies its logits by.
    """
    if labels is None:
        return type(model).forward(model, input_ids=input_ids, attention_mask=attention_mask, **kwargs)
    flat = labels.flatten(0, 1)
    positions = ((flat if flat.dim() == 1 else flat[:, 0]) != IGNORE).nonzero().flatten()
    if at_tags:
        kwargs["tag_positions"] = positions
    base = getattr(model, model.base_model_prefix)
    hidden = base(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **kwargs).last_hidden_state
    hidden = hidden.flatten(0, 1)
    head = model.score if rows is None else model.get_output_embeddings()
    pick = slice(None) if rows is None else list(rows)
    if num_items_in_batch is not None and flat.dim() == 2:
        num_items_in_batch = num_items_in_batch / flat.shape[1]  # the Trainer counts labels, one for each eta
    learnt = Learnt(flat[positions].to(torch.float32), normalizer=num_items_in_batch)
    at = torch.arange(len(positions), device=hidden.device) if at_tags else positions
    weight, bias = head.weight[pick] * scale, None if head.bias is None else head.bias[pick] * scale
    loss, scores = pair_loss(hidden, weight, bias, at, learnt)
    return StepOutput(loss=loss, scores=scores[:, 0] if scores.shape[1] == 1 else scores)
