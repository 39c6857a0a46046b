"""Broken model folders: every command says in one line what is wrong with which file, exits with 2, and writes nothing.

BROKEN names what is done to a whole PRM's folder (or, for training, a policy's) before each command reads it.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from attack.counts import attempt
from prm.rows_of_steps import rows
from safetensors.torch import load_file, save_file

from erprm.cli import main
from erprm.prm.model import PRM
from erprm.problems import Problem, write_problems
from erprm.rows import write_rows


def setting(name: str, value: Any, file: str = "config.json") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), name: value}), encoding="utf-8")

    return change


def text(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def cut(share: float, file: str = "model.safetensors") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(share * len(data))])

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        held = load_file(path)
        change(held)
        save_file(held, path, metadata={"format": "pt"})

    return apply


def sharded(index: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    return apply


def piped(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


def linked(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(name)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"no archive")


BROKEN: dict[str, Callable[[Path], None]] = {
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "empty configuration": text("config.json", b""),
    "configuration cut": cut(0.5, "config.json"),
    "a list for a configuration": text("config.json", b"[]"),
    "bytes for a configuration": text("config.json", b"\xff\xfe{"),
    "architectures 5": setting("architectures", 5),
    "architectures empty": setting("architectures", []),
    "architectures of numbers": setting("architectures", [5]),
    "no sizes": text("config.json", b'{"architectures": ["LlamaForTokenClassification"], "model_type": "llama"}'),
    "model type unknown": setting("model_type", "nosuchtype"),
    "model type a number": setting("model_type", 3),
    "hidden size text": setting("hidden_size", "64"),
    "hidden size negative": setting("hidden_size", -64),
    "hidden size other": setting("hidden_size", 96),
    "hidden size enormous": setting("hidden_size", 10**12),
    "vocabulary other": setting("vocab_size", 200),
    "layers more": setting("num_hidden_layers", 64),
    "layers none": setting("num_hidden_layers", None),
    "heads zero": setting("num_attention_heads", 0),
    "activation unknown": setting("hidden_act", "nosuch"),
    "epsilon no number": setting("rms_norm_eps", float("nan")),
    "dropout of 2": setting("attention_dropout", 2.0),
    "quantised by what is not here": setting("quantization_config", {"quant_method": "gptq", "bits": 4}),
    "a pipe for a configuration": lambda folder: piped(folder, "generation_config.json"),
    "a link to itself": lambda folder: linked(folder, "config.json"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "empty weights": text("model.safetensors", b""),
    "weights cut": cut(0.7),
    "header cut": cut(0.001),
    "header of 2^63 bytes": text("model.safetensors", b"\0" * 7 + b"\x80" + b"{}" * 100),
    "header of garbage": text("model.safetensors", b"\xff" * 4096),
    "weights without any": text("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    "pickle broken": pickled,
    "a layer missing": weights(lambda held: held.pop("model.layers.1.mlp.up_proj.weight")),
    "a weight of another shape": weights(lambda held: held.update({"model.norm.weight": torch.ones(7)})),
    "index without map": sharded({}),
    "index of numbers": sharded({"weight_map": {"model.norm.weight": 5}}),
    "index to nowhere": sharded({"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}),
    "index to another weight": sharded({"weight_map": {"no.such": "model-00001-of-00002.safetensors"}}),
    "index outside": sharded({"weight_map": {"model.norm.weight": "../x.safetensors"}}),
    "no tokenizer": lambda folder: [path.unlink() for path in folder.glob("tokenizer*")] and None,
    "empty tokenizer": text("tokenizer.json", b""),
    "tokenizer of nothing": text("tokenizer.json", b"{}"),
    "tokenizer a list": text("tokenizer.json", b"[]"),
    "tokenizer cut": cut(0.5, "tokenizer.json"),
    "tokenizer with an id of 4 billion": setting("model", {
        "type": "WordLevel", "vocab": {"a": 4_000_000_000}, "unk_token": "a"}, "tokenizer.json"),
    "tokenizer of one word": setting("model", {
        "type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, "tokenizer.json"),
    "tokenizer of none": setting("model", {"type": "BPE", "vocab": {}, "merges": []}, "tokenizer.json"),
    "tokenizer configuration cut": cut(0.5, "tokenizer_config.json"),
}
OF_A_POLICY: dict[str, Callable[[Path], None]] = {  # which doctor, that asks about training a PRM, does not look at
    "generation configuration a list": text("generation_config.json", b"[]"),
    "generation configuration of nonsense": text("generation_config.json", b'{"max_new_tokens": -5}'),
    "adapter cut": text("adapter_config.json", b'{"peft'),
    "adapter of another kind": text("adapter_config.json", b'{"peft_type": "NOSUCH", "base_model_name_or_path": "."}'),
    "adapter to nowhere": text("adapter_config.json", b'{"peft_type": "LORA", "base_model_name_or_path": "/none/x"}'),
}
OF_A_PRM: dict[str, Callable[[Path], None]] = {
    "head missing": weights(lambda held: held.pop("score.weight")),
    "head of 3 classes": weights(lambda held: held.update({"score.weight": torch.ones(3, 64)})),
    "head of another width": weights(lambda held: held.update({"score.weight": torch.ones(2, 7)})),
    "erprm.json cut": cut(0.5, "erprm.json"),
    "erprm.json a list": text("erprm.json", b"[]"),
    "erprm.json of another loss": setting("loss", "nosuch", "erprm.json"),
    "erprm.json with a number for tags": setting("tags", 5, "erprm.json"),
    "erprm.json with a tag that is a number": setting("tags", {"tag": 5}, "erprm.json"),
    "erprm.json with a tag of several tokens": setting("tags", {"tag": " abc"}, "erprm.json"),
    "erprm.json with text for concentration": setting("concentration", "8", "erprm.json"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy, a PRM and rows."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.save(folder / "policy")
    PRM.from_base(tiny.llama(), tiny.tokenizer()).save_pretrained(folder / "prm")
    tiny.tokenizer().save_pretrained(folder / "prm")
    write_rows(folder / "rows.jsonl", rows(2, 2))
    write_problems(folder / "problems.jsonl", [Problem(id="p0", question="1+1?", answer="2")])
    return folder


def commands(folder: Path, model: Path, kind: str) -> dict[str, list[str]]:
    """What reads a model of this kind."""
    data = str(folder / "rows.jsonl")
    train = {"train": ["train", "--model", str(model), "--data", data, "--out", str(model.parent / "out")],
             "doctor": ["doctor", "--model", str(model), "--data", data]}
    use = {"score": ["score", "--model", str(model), "--rows", data, "--out", str(model.parent / "out.jsonl")],
           "export": ["export", "--model", str(model), "--out", str(model.parent / "out")]}
    policy = {"sample": ["sample", "--policy", str(model), "--problems", str(folder / "problems.jsonl"), "--device",
                         "cpu", "--max-tokens", "2", "--workers", "1", "--out", str(model.parent / "out.jsonl")],
              "sft": ["sft", "--model", str(model), "--data", data, "--max-steps", "1", "--out",
                      str(model.parent / "out")]}
    return {**train, **policy} if kind == "policy" else {**use, **train}


CASES = [("policy", name) for name in (*BROKEN, *OF_A_POLICY)] + [("prm", name) for name in (*BROKEN, *OF_A_PRM)]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_broken_folder_is_one_line_and_exit_code_2(kind: str, name: str, whole: Path, tmp_path: Path,
                                                     capfd: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(whole / kind, tmp_path / "model")
    {**BROKEN, **OF_A_POLICY, **OF_A_PRM}[name](model)
    for command, words in commands(whole, model, kind).items():
        if command == "doctor" and name in ("no configuration", "a link to itself"):
            continue  # it takes a tokenizer alone, and says that the model wasn't looked at
        if name in OF_A_POLICY and command != "sft":
            continue
        with attempt("broken folders"):
            code = main(words)
            shown = capfd.readouterr()
            assert code == 2, f"{command}: exit code {code}: {shown.out}"
            assert "Traceback" not in shown.err
            if command != "doctor":  # which may list other findings
                said = [line for line in shown.err.splitlines() if line.startswith("erprm")]
                assert len(said) == 1, shown.err
            assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["model"], command


@pytest.mark.parametrize("kind", ["policy", "prm"])
def test_weights_that_are_no_numbers_are_said_and_come_to_nothing(kind: str, whole: Path, tmp_path: Path,
                                                                  capfd: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(whole / kind, tmp_path / "model")
    weights(lambda held: held["model.norm.weight"].fill_(float("nan")))(model)
    for command, words in commands(whole, model, kind).items():
        assert main(words) == 2, command
        shown = capfd.readouterr()
        assert "Traceback" not in shown.err
        assert command == "doctor" or len([line for line in shown.err.splitlines() if line.startswith("erprm")]) == 1
        assert "nan" in (shown.out + shown.err).lower(), command
        left = {path.name for path in tmp_path.rglob("*") if path.is_file() and model not in path.parents}
        assert not left & {"out.jsonl", "model.safetensors", "config.json", "erprm.json"}, command
    shutil.copyfile(whole / kind / "model.safetensors", model / "model.safetensors")
    for command, words in commands(whole, model, kind).items():  # mended, into the same place
        with attempt("mended after a refusal"):
            if command in ("train", "sft"):  # of which each wrote to the same folder before
                assert main([*words, "--max-steps", "1"] if command == "train" else words) == 0, command
                shutil.rmtree(tmp_path / "out")
            elif command == "score":
                assert main(words) == 0
