"""Options that the commands which score share: the model, and what runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.errors import InputError
from erprm.prm.checkpoints.known import FORMS
from erprm.prm.scoring.engines import ENGINES

if TYPE_CHECKING:
    from erprm.prm.scoring.scorer import Scorer


@dataclass(frozen=True)
class ScorerConfig:
    """Which model scores, and how it is run."""

    model: str = option(help="the process reward model: a folder, or a name on the hub")
    engine: str = option("transformers", help="what runs the model", choices=ENGINES)
    engine_options: tuple[str, ...] = option((), help="options of vLLM and Ray as name=value, for instance "
                                                      "max_model_len=4096 tensor_parallel_size=4, or actors=8")
    eta: tuple[float, ...] = option((), help="which eta of a model that learnt several; erprm score: all by default")
    form: str = option("auto", help="the checkpoint's form", choices=FORMS, auto="told from its files")
    device: str | None = option(None, help="cpu, cuda, cuda:1 (transformers engine; default: cuda where there is one)")
    dtype: str = option("auto", help="of the weights in memory; auto: as on disk",
                        choices=("auto", "float32", "bfloat16", "float16"))
    batch_tokens: int | None = option(None, least=1, help="most tokens of one forward (transformers engine; default: "
                                                          "what suits the device)")
    max_length: int | None = option(None, least=1, help="most tokens of a row; by default the model's own limit")
    share: bool | None = option(None, help="compute shared prefixes once (transformers engine; default: where that is "
                                           "cheaper)")
    separator: str = option("\n", help="what the trl form has between steps")


def scorer_of(config: ScorerConfig, too_long: str = "error", every: bool = False) -> Scorer:
    """The model, loaded.

    Args:
        every: all that it says of a step, a column for each eta; else its one score.

    Raises:
        InputError: for what `PRMScorer` refuses.
    """
    if len(config.eta) > 1 and not every:
        raise InputError(f"eta: expected one number, found {len(config.eta)}")
    from erprm.cli.engine_options import parse_options
    from erprm.devices import find_device
    from erprm.prm.scoring.load import load_scorer

    if config.engine == "transformers":
        find_device(config.device)  # before the model is looked at
    return load_scorer(config.engine, config.model, engine_options=parse_options(config.engine_options),
                       form=config.form, device=config.device, dtype=config.dtype, batch_tokens=config.batch_tokens,
                       max_length=config.max_length, too_long=too_long, share=config.share, separator=config.separator,
                       eta=config.eta or None, every=every)
