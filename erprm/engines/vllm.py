"""The vLLM engine: the policy in this process, with prefix caching, made for sampling at scale.

    engine = VllmEngine("path/to/policy", max_model_len=2048, tensor_parallel_size=2)
    [[first, second]] = engine.sample([Request("2+3?", "", n=2, seed=7)], Sampling(max_tokens=64))
    engine.close()

On a machine without a GPU it runs on vLLM's CPU build (docs/engines.md). Every request carries its own seed, so a
sample does not depend on what else is in the batch, up to the rounding of sums that a batch of another shape changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from erprm.engines.base import Completion, Request, Sampling
from erprm.engines.identity import model_identity
from erprm.engines.prompts import PromptTemplate
from erprm.engines.vllm_process import checkpoint_dtype, load_llm, on_cpu, release_llm
from erprm.errors import InputError
from erprm.options import Count, Within, checked
from erprm.tokenizers import load_tokenizer


class VllmEngine:
    """Holds one `vllm.LLM`, in `llm` for uses beyond the protocol; None once closed."""

    @checked
    def __init__(self, model: str, *, template: PromptTemplate | None = None, dtype: str = "auto",
                 max_model_len: Annotated[int | None, Within(least=1)] = None, tensor_parallel_size: Count = 1,
                 data_parallel_size: Count = 1, max_num_seqs: Count = 512, threads: Count = 1,
                 revision: str | None = None, **options: Any) -> None:
        """Load the policy.

        Args:
            model: a folder or a hub name.
            template: the text around a question; plain by default.
            dtype: "float32", "bfloat16", "float16"; "auto" is the checkpoint's on a GPU, float32 on a CPU.
            max_model_len: most tokens of prompt and completion together; by default the model's own, on a CPU as many
                of them as the cache holds.
            tensor_parallel_size: GPUs over which the model is split.
            data_parallel_size: copies of the model under torchrun with `distributed_executor_backend=
                "external_launcher"`; else use "ray:vllm" with as many actors.
            max_num_seqs: samples written at the same time.
            threads: OpenMP threads on a CPU.
            options: any other argument of `vllm.LLM` (`gpu_memory_utilization`, `kv_cache_memory_bytes`,
                `quantization`, `enforce_eager`, ...).

        Raises:
            InputError: for a model or an option that vLLM refuses.
            MissingExtraError: when vLLM is not installed.
        """
        self._template = template or PromptTemplate()
        self._tokenizer = load_tokenizer(model, revision=revision)
        self._template.check(self._tokenizer)
        if dtype == "auto":
            dtype = "float32" if on_cpu() else checkpoint_dtype(model, revision)
        given = {"dtype": dtype, "max_model_len": max_model_len, "revision": revision}
        chosen: dict[str, Any] = {"enable_prefix_caching": True, "seed": 0}
        chosen |= {name: value for name, value in given.items() if value is not None}
        if data_parallel_size > 1:
            chosen["data_parallel_size"] = data_parallel_size
        self.llm: Any = load_llm(threads, model=model, tensor_parallel_size=tensor_parallel_size,
                                 max_num_seqs=max_num_seqs, **(chosen | options))
        self._config = self.llm.llm_engine.model_config
        self._identity = model_identity(model, revision)
        try:
            self._check_finite(model)
        except InputError:
            self.close()
            raise

    def _check_finite(self, model: str) -> None:
        """One token with its log-probability, whose normaliser is NaN where any weight on the way to it is."""
        from vllm.sampling_params import SamplingParams

        ids = self._template.ids(self._tokenizer, "1+1?", "")[: self._config.max_model_len - 1]
        parameters = SamplingParams(temperature=0, max_tokens=1, logprobs=0)
        [output] = self.llm.generate([{"prompt_token_ids": ids}], parameters, use_tqdm=False)
        if not all(math.isfinite(found.logprob) for token in output.outputs[0].logprobs for found in token.values()):
            raise InputError(f"policy {model}: the log-probability of its first token is no number: its weights hold "
                             "NaN or infinite numbers; nothing can be sampled from it")

    def fingerprint(self) -> dict[str, str]:
        """What the completions depend on besides the request."""
        import vllm

        return {"engine": f"vllm {vllm.__version__}", "model": self._identity,
                "dtype": str(self._config.dtype).removeprefix("torch."), "prompt": self._template.fingerprint()}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """For each request, in order, its n completions, in the order of their seeds.

        A prompt that leaves no room in the model's context gets n empty completions with `finish_reason` "length".

        Raises:
            InputError: for n < 1, an empty prompt, or a closed engine.
        """
        if self.llm is None:
            raise InputError("engine: it was closed")
        results: list[list[Completion]] = []
        prompts, parameters, places = [], [], []
        for request in requests:
            if request.n < 1:
                raise InputError(f"n: expected at least 1, found {request.n}")
        found = self._template.many_ids(self._tokenizer, [(request.question, request.prefix) for request in requests])
        for place, (request, ids) in enumerate(zip(requests, found, strict=True)):
            results.append([Completion("", "length", 0)] * request.n)
            if len(ids) < self._config.max_model_len:
                prompts.append({"prompt_token_ids": ids})
                parameters.append(_parameters(request, sampling))
                places.append(place)
        if not prompts:
            return results
        for place, output in zip(places, self.llm.generate(prompts, parameters, use_tqdm=False), strict=True):
            written = [_completion(sample) for sample in sorted(output.outputs, key=lambda sample: sample.index)]
            results[place] = written if len(written) == requests[place].n else written * requests[place].n
        return results

    def close(self) -> None:
        """Give the model's memory back, once no other vLLM engine of this process is in use."""
        if self.llm is not None:
            release_llm(self.llm)
            self.llm = None


def _parameters(request: Request, sampling: Sampling) -> Any:
    """vLLM's own parameters of one request. Its n samples use the seeds seed, seed + 1, ...; greedy ones are one."""
    from vllm.sampling_params import SamplingParams  # `vllm` itself looks its names up anew every time

    greedy = sampling.temperature == 0
    return SamplingParams(n=1 if greedy else request.n, seed=None if greedy else request.seed,
                          temperature=sampling.temperature, top_p=1.0 if greedy else sampling.top_p,
                          max_tokens=sampling.max_tokens, stop=list(sampling.stop) or None)


def _completion(sample: Any) -> Completion:
    reason: Literal["stop", "length"]
    if sample.finish_reason == "stop":
        reason = "stop"
    elif sample.finish_reason == "length":
        reason = "length"
    else:
        raise RuntimeError(f"vllm ended a completion with {sample.finish_reason!r}")
    stopped_at = sample.stop_reason if isinstance(sample.stop_reason, str) else None
    return Completion(sample.text, reason, len(sample.token_ids), stopped_at)
