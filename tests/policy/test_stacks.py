"""The adapters inside verl's own reward loop and SkyRL's own checks.

Both pin other versions of what erprm runs on, so that they are no extra of it: `make stacks` puts them into a folder of
their own and runs this; elsewhere it skips.
"""

import typing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import typing_extensions

from erprm.policy.reward import PRMReward
from erprm.policy.stacks import skyrl_rewards

TEXTS = ["3*4=12\n2+12=14", "2+3=5", "", "1\n2\n3\n4"]
CUSTOM = '''
import torch
from transformers import AutoTokenizer
from verl.experimental.reward_loop.reward_manager import NaiveRewardManager

from erprm.policy.reward import PRMReward
from erprm.policy.stacks import verl_score, verl_token_rewards

REWARD = PRMReward({prm!r}, mode="shaping", tokenizer=AutoTokenizer.from_pretrained({prm!r}))
compute_score = verl_score(REWARD)


class StepRewards(NaiveRewardManager):
    @classmethod
    def assemble_rm_scores(cls, data, scores):
        mask = data.batch["attention_mask"][:, data.batch["prompts"].shape[1]:]
        questions = [info["question"] for info in data.non_tensor_batch["extra_info"]]
        return torch.from_numpy(verl_token_rewards(REWARD, questions, data.batch["responses"], mask))
'''


@pytest.fixture(scope="module")
def responses() -> list[list[int]]:
    tokenizer = tiny.tokenizer()
    return [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]


@pytest.mark.parametrize("manager", ["naive", "StepRewards"])
def test_verls_reward_loop(manager: str, prm: Path, responses: list[list[int]], tmp_path: Path,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file that its configuration names to the batch that its trainer reads; Ray alone is left out."""
    pytest.importorskip("verl", reason="make stacks installs it")
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.experimental.reward_loop.reward_loop import RewardLoopManager, RewardLoopWorker
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    (tmp_path / "custom.py").write_text(CUSTOM.format(prm=str(prm)))
    named = {"source": "register", "name": "naive"} if manager == "naive" else {
        "source": "importlib", "name": manager, "module": {"path": str(tmp_path / "custom.py")}}
    config = OmegaConf.create({
        "actor_rollout_ref": {"model": {"path": str(prm), "tokenizer_path": None}},
        "reward": {"reward_manager": named, "reward_model": {"enable": False},
                   "custom_reward_function": {"path": str(tmp_path / "custom.py"), "name": "compute_score"}}})
    width = max(map(len, responses))
    padded = torch.tensor([ids + [0] * (width - len(ids)) for ids in responses])
    kept = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in responses])
    data = DataProto.from_dict(
        {"prompts": torch.ones(len(TEXTS), 2, dtype=torch.long), "responses": padded,
         "attention_mask": torch.cat([torch.ones(len(TEXTS), 2, dtype=torch.long), kept], dim=1)},
        {"data_source": np.array(["gsm8k"] * len(TEXTS), dtype=object),
         "reward_model": np.array([{"ground_truth": "14"}] * len(TEXTS), dtype=object),
         "extra_info": np.array([{"question": "2+3*4?"} for _ in TEXTS], dtype=object)})
    worker = RewardLoopWorker(config)
    called = SimpleNamespace(remote=lambda part: worker.loop.run_until_complete(worker.compute_score_batch(part)))
    monkeypatch.setattr("ray.get", lambda results: results)
    loop = RewardLoopManager.__new__(RewardLoopManager)  # its __init__ starts the workers on Ray's nodes
    loop.config, loop.reward_model_manager = config, None
    loop.reward_manager_cls = resolve_reward_manager_cls(config)
    loop.reward_loop_workers = [SimpleNamespace(compute_score_batch=called)]
    found = loop.compute_rm_score(data)
    reward = PRMReward(prm, mode="shaping", tokenizer=tiny.tokenizer())
    totals = reward(["2+3*4?"] * len(TEXTS), TEXTS)
    np.testing.assert_allclose(found.batch["rm_scores"].sum(dim=1).numpy(), totals, atol=1e-6)
    np.testing.assert_allclose(found.non_tensor_batch["score"].astype(float), totals, atol=1e-6)
    assert found.meta_info["reward_extra_keys"] == ["score", "step_scores"]
    if manager == "StepRewards":
        wanted = reward.token_rewards(["2+3*4?"] * len(TEXTS), TEXTS, responses)
        for row, tokens in zip(found.batch["rm_scores"].tolist(), wanted, strict=True):
            np.testing.assert_allclose(row[: len(tokens)], tokens, atol=1e-6)


def test_skyrls_generator_output(prm: Path, responses: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own validation takes the rewards, and its own mean reward is that of the completions."""
    monkeypatch.setattr(typing, "TypedDict", typing_extensions.TypedDict)  # what its import needs before Python 3.12
    pytest.importorskip("skyrl", reason="make stacks installs it")
    from skyrl.train.generators.utils import get_metrics_from_generator_output
    from skyrl.train.utils.trainer_utils import validate_generator_output

    reward = PRMReward(prm, mode="shaping", tokenizer=tiny.tokenizer())
    output = {"prompt_token_ids": [[1]] * len(TEXTS), "response_ids": responses,
              "rewards": skyrl_rewards(reward, ["2+3*4?"] * len(TEXTS), responses),
              "loss_masks": [[1] * len(ids) for ids in responses], "stop_reasons": None, "rollout_logprobs": None}
    validate_generator_output(len(TEXTS), output)
    metrics = get_metrics_from_generator_output(output, ["a", "a", "b", "b"])
    assert metrics["avg_score"] == pytest.approx(np.mean(reward(["2+3*4?"] * len(TEXTS), TEXTS)), abs=1e-6)
