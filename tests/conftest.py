"""Fixtures that all tests share. Real data is read from the folder that ERPRM_DATA names."""

import functools
import gc
import importlib.util
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from erprm.engines.vllm import VllmEngine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run. With ERPRM_REQUIRE_EXTRAS=1 a missing extra fails instead of skipping."""
    import torch

    require = os.environ.get("ERPRM_REQUIRE_EXTRAS") == "1"
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        for extra in ("vllm", "ray"):
            if item.get_closest_marker(extra) and not require and importlib.util.find_spec(extra) is None:
                item.add_marker(pytest.mark.skip(reason=f"{extra} is not installed"))


def pytest_collection_finish() -> None:
    """What is imported by now stays. Every training collects garbage, and would walk through all of torch to do so."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with gsm8k/, math500/ and math_aps/."""
    folder = os.environ.get("ERPRM_DATA")
    if not folder:
        pytest.skip("ERPRM_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def real_tokenizers(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizers of published models: llama2, llama3_1, gemma3, qwen3, deepseek_v3."""
    folder = tmp_path_factory.mktemp("tokenizers")
    with tarfile.open(data / "tokenizers.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def real_tokenizer(real_tokenizers: Path) -> "Callable[[str], PreTrainedTokenizerBase]":
    """Loads one of them, once a session: the largest takes seconds."""
    from erprm.tokenizers import load_tokenizer

    return functools.cache(lambda name: load_tokenizer(real_tokenizers / name))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer, saved once a session. Do not write into it."""
    return tiny.save(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def prm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny PRM with its tokenizer, saved once a session. Do not write into it."""
    from erprm.prm.model import PRM

    folder = tmp_path_factory.mktemp("tiny-prm")
    PRM.from_base(tiny.llama(), tiny.tokenizer()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vllm_engine(model_dir: Path) -> Iterator["VllmEngine"]:
    """The tiny Llama in vLLM, loaded once a session. Tests that use it belong to the xdist group "vllm"."""
    from erprm.engines.vllm import VllmEngine

    engine = VllmEngine(str(model_dir), max_model_len=512)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for a module of tests, with room for all actors however many processors the machine has."""
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 otherwise: the actors starve beside the other tests
    ray.init(address="local", num_cpus=4, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()
