"""Two real processes over gloo, and four, train as one does: the same loss and gradients; FSDP2 has the same AUC."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.xdist_group("distributed")  # the runs are made once

SCRIPT = Path(__file__).with_name("processes.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one process, then two and then four have trained."""
    folder = tmp_path_factory.mktemp("distributed")
    launchers = ([], *(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", f"{number}"]
                       for number in (2, 4)))
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1",
                   "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    for launcher in launchers:
        done = subprocess.run([sys.executable, *launcher, str(SCRIPT), str(folder)], env=environment, text=True,
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
    return folder


def result(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "result.json").read_text())


@pytest.mark.parametrize("name", ["at-once", "two-by-two"])
def test_processes_and_micro_batches_divide_a_step_without_a_trace(name: str, runs: Path) -> None:
    """SGD's update is the gradient: equal weights after two steps are equal gradients."""
    expected, found = (load_file(runs / run / "model.safetensors") for run in ("one-by-four", name))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=0, msg=key)
    assert result(runs, name)["loss"] == pytest.approx(result(runs, "one-by-four")["loss"], abs=1e-5)  # of each step
    assert result(runs, name)["eval_step_auc"] == pytest.approx(result(runs, "one-by-four")["eval_step_auc"], abs=1e-6)


@pytest.mark.parametrize(("alone", "sharded"), [("one-vocab", "fsdp-vocab"), ("at-once", "fsdp-four")])
def test_a_sharded_output_head_learns_as_a_whole_one(alone: str, sharded: str, runs: Path) -> None:
    """FSDP2 with the vocab loss, which reads the head's weight itself, and with two head rows over four processes, two
    of which then hold none: equal losses, equal weights after two steps."""
    expected, found = (load_file(runs / run / "model.safetensors") for run in (alone, sharded))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=0, msg=key)
    assert result(runs, sharded)["loss"] == pytest.approx(result(runs, alone)["loss"], abs=1e-5)


def test_fsdp_ends_with_the_same_held_out_auc(runs: Path) -> None:
    """On the demo's rows: same losses on the way, same metrics on held-out problems."""
    one, two = result(runs, "one-learns"), result(runs, "fsdp-learns")
    assert sum(one["loss"][-10:]) < 0.95 * sum(one["loss"][:10])
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-3)
    for name in ("eval_step_auc", "eval_loss", "eval_brier"):
        assert two[name] == pytest.approx(one[name], abs=1e-3), name
    saved = load_file(runs / "fsdp-learns" / "model.safetensors")
    assert saved["score.weight"].shape == (2, 64)


def test_shared_prefixes_train_over_two_processes(runs: Path) -> None:
    assert len(result(runs, "two-shared")["loss"]) == 2
