"""Ray: two actors that hold the real vLLM, one of them killed at work; a Ray data set."""

import os
import signal
from pathlib import Path

import pytest

from erprm.engines import Request, Sampling, load_engine
from erprm.engines.ray import RayEngine, sample_dataset
from erprm.engines.vllm import VllmEngine
from erprm.errors import InputError

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

REQUESTS = [Request(f"{index}+3*4?", "3*4=12\n", n=3, seed=100 * index) for index in range(24)]
SAMPLING = Sampling(max_tokens=24)


@pytest.mark.vllm
@pytest.mark.slow
def test_a_killed_vllm_actor_costs_only_its_batch(local_ray: None, vllm_engine: VllmEngine, model_dir: Path) -> None:
    engine = RayEngine("vllm", str(model_dir), actors=2, batch_requests=2, max_model_len=512)
    assert engine.fingerprint() == vllm_engine.fingerprint()
    whole = engine.sample(REQUESTS, SAMPLING)
    assert whole == vllm_engine.sample(REQUESTS, SAMPLING)  # wherever it is written, and in whatever batch
    victim, survivor = engine.processes()
    again: dict[int, object] = {}
    for start, completions in engine.batches(REQUESTS, SAMPLING):
        if not again:
            os.kill(victim, signal.SIGKILL)
        for offset, row in enumerate(completions):
            assert start + offset not in again  # no batch comes twice
            again[start + offset] = row
    assert [again[index] for index in range(len(REQUESTS))] == whole
    after = engine.processes()
    assert after[0] != victim
    assert after[1] == survivor
    with pytest.raises(InputError, match="n: expected at least 1"):  # raised in an actor
        engine.sample([Request("1", "", 0, 0)], SAMPLING)
    engine.close()
    with pytest.raises(InputError, match="closed"):
        engine.sample(REQUESTS, SAMPLING)


def test_a_ray_data_set_gets_completions(local_ray: None, model_dir: Path) -> None:
    import ray

    dataset = ray.data.from_items([{"id": index, "question": f"{index}+3?"} for index in range(6)])
    rows = sample_dataset(dataset, "transformers", str(model_dir), Sampling(max_tokens=4), n=2, actors=1,
                          batch_requests=3).take_all()
    assert sorted(row["id"] for row in rows) == list(range(6))
    assert all(len(row["completions"]) == len(row["finish_reasons"]) == 2 for row in rows)


def test_bad_input_is_one_line(local_ray: None, model_dir: Path) -> None:
    with pytest.raises(InputError, match="actors: expected a whole number"):
        load_engine("ray:vllm", str(model_dir), actors=0)
    with pytest.raises(InputError, match="no/such/model"):
        RayEngine("transformers", "/no/such/model", actors=1)
