"""The embedded engine: any stock causal language model of transformers, with nothing else installed.

    engine = TransformersEngine("path/to/policy")
    [[first, second]] = engine.sample([Request("2+3?", "", n=2, seed=7)], Sampling(max_tokens=64))

A prompt is read once and its keys and values are shared out to its n samples. Rows that finish are replaced by waiting
ones without stopping the others, so that the batch stays full until the work runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
import transformers
from transformers import AutoConfig

from erprm.devices import find_device
from erprm.engines.base import Completion, Request, Sampling
from erprm.engines.batch import Guide, ModelCaller, Prompt, RowBatch, Writing
from erprm.engines.identity import model_identity
from erprm.engines.prompts import PromptTemplate
from erprm.engines.stopping import Detokenizer, StopStrings
from erprm.errors import InputError
from erprm.loading import REFUSALS, load_causal
from erprm.options import Count, checked
from erprm.tokenizers import load_tokenizer

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


class TransformersEngine:
    """Holds one causal language model on one device."""

    @checked
    def __init__(self, model: str, *, template: PromptTemplate | None = None,
                 device: Annotated[str | None, find_device] = None, dtype: str = "auto", batch_rows: Count = 256,
                 prefill_tokens: Count = 8192, revision: str | None = None) -> None:
        """Load the policy.

        Args:
            model: a folder or a hub name.
            template: the text around a question; plain by default.
            device: "cuda" where there is one, else "cpu".
            dtype: "float32", "bfloat16", "float16"; "auto" is the checkpoint's on an accelerator, float32 on a CPU.
            batch_rows: samples written at the same time; what is left of memory beside the weights bounds it.
            prefill_tokens: prompt tokens read at the same time.
            revision: of a hub model.

        Raises:
            InputError: for an argument outside its range, a model that cannot be read, an unknown dtype, or a model
                without a key/value cache.
        """
        self._template = template or PromptTemplate()
        self._device = find_device(device)
        self._batch_rows, self._prefill_tokens = batch_rows, prefill_tokens
        config, self._tokenizer = _read(model, revision)
        self._template.check(self._tokenizer)
        _check_cache(model, config)
        loaded: Any = load_causal(model, config=config, revision=revision, dtype=_dtype(dtype, self._device),
                                  attn_implementation="sdpa")
        self._model: Any = loaded.to(self._device).eval()
        _check_finite(model, self._model)
        self._call: ModelCaller | None = ModelCaller(self._model)
        self._context = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)
        self._detokenizer = Detokenizer(self._tokenizer)
        self._stops: dict[tuple[str, ...], StopStrings] = {}  # which tokens may end them: a search in all of V
        self._is_eos = _eos_table(model, self._model, self._tokenizer, self._device)
        self._identity = model_identity(model, getattr(config, "_commit_hash", None) or revision)

    def fingerprint(self) -> dict[str, str]:
        """What the completions depend on besides the request."""
        return {"engine": f"transformers {transformers.__version__}", "model": self._identity,
                "dtype": str(self._model.dtype).removeprefix("torch."), "prompt": self._template.fingerprint()}

    def sample(self, requests: Sequence[Request], sampling: Sampling, guide: Guide | None = None,
               ) -> list[list[Completion]]:
        """For each request, in order, its n completions, in the order of their seeds.

        A prompt that leaves no room in the model's context gets n empty completions with `finish_reason` "length".

        Args:
            guide: changes the logits before a token is drawn (`erprm.selection.q_sharp`).

        Raises:
            InputError: for n < 1, an empty prompt, or a closed engine.
        """
        if self._call is None:
            raise InputError("engine: it was closed")
        if (stop := self._stops.get(sampling.stop)) is None:
            stop = StopStrings(sampling.stop, self._detokenizer, self._is_eos.shape[0], self._device)
            self._stops[sampling.stop] = stop
        prompts, places = [], []
        results: list[list[Completion]] = []
        for request in requests:
            if request.n < 1:
                raise InputError(f"n: expected at least 1, found {request.n}")
        found = self._template.many_ids(self._tokenizer, [(request.question, request.prefix) for request in requests])
        for place, (request, ids) in enumerate(zip(requests, found, strict=True)):
            limit = min(sampling.max_tokens, self._context - len(ids))
            results.append([Completion("", "length", 0)] * request.n)
            if limit >= 1:
                prompts.append(Prompt(ids, request.n, request.seed, limit))
                places.append(place)
        if not prompts:
            return results
        def placed(writings: Sequence[Writing], logits: torch.Tensor) -> torch.Tensor:
            assert guide is not None
            return guide([replace(writing, request=places[writing.request]) for writing in writings], logits)

        batch = RowBatch(self._call, prompts, sampling, self._is_eos, stop, self._batch_rows, self._prefill_tokens,
                         None if guide is None else placed)
        for done in batch.run():
            written = self._detokenizer.text(done.ids)
            text = stop.cut(written)
            results[places[done.prompt]][done.sample] = Completion(
                text, "stop" if done.stopped else "length", len(done.ids), _stopped_at(written, text, sampling))
        return results

    @property
    def tokenizer(self) -> Any:
        """The policy's."""
        return self._tokenizer

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated token ids, without special tokens."""
        return self._detokenizer.text(ids)

    def ends(self, token: int) -> bool:
        """Whether a token ends a completion."""
        return bool(self._is_eos[token])

    def close(self) -> None:
        """Drop the model."""
        self._call = self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _stopped_at(written: str, text: str, sampling: Sampling) -> str | None:
    """The stop string at which `written` was cut to `text`; None when it was not."""
    return next((stop for stop in sampling.stop if stop and written.startswith(stop, len(text))), None)


def _read(model: str, revision: str | None) -> tuple[Any, Any]:
    try:
        return AutoConfig.from_pretrained(model, revision=revision), load_tokenizer(model, revision=revision)
    except REFUSALS as error:
        raise InputError(f"policy {model}: expected a folder or hub name of a causal language model with its "
                         f"tokenizer; {(str(error).splitlines() or [type(error).__name__])[0]}") from error


def _check_finite(model: str, loaded: torch.nn.Module) -> None:
    for name, weight in loaded.named_parameters():
        if not torch.isfinite(weight.sum(dtype=torch.float64)):
            raise InputError(f"policy {model}: the weight {name} holds NaN or infinite numbers; nothing can be "
                             "sampled from it")


def _check_cache(model: str, config: Any) -> None:
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ()) - _ATTENTION
    if kinds:
        raise InputError(f"policy {model}: expected attention layers with a key/value cache, found "
                         f"{', '.join(sorted(kinds))}; use the vllm engine")


def _dtype(name: str, device: torch.device) -> torch.dtype | str:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
             "auto": torch.float32 if device.type == "cpu" else "auto"}
    if name not in known:
        raise InputError(f"dtype: expected one of {', '.join(known)}, found {name!r}")
    return known[name]


def _eos_table(name: str, model: Any, tokenizer: Any, device: torch.device) -> torch.Tensor:
    """bool [V]: which tokens end a completion. Raises InputError for one outside the vocabulary."""
    ends = model.generation_config.eos_token_id
    ids = set(ends if isinstance(ends, (list, tuple)) else [ends]) | {tokenizer.eos_token_id}
    table = torch.zeros(model.get_output_embeddings().weight.shape[0], dtype=torch.bool)
    for index in ids - {None}:
        if not isinstance(index, int) or not 0 <= index < len(table):
            raise InputError(f"policy {name}: eos_token_id: expected ids of its vocabulary of {len(table)}, found "
                             f"{index!r}")
        table[index] = True
    return table.to(device)
