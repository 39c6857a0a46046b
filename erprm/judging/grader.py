"""A language model as a grader: it reads a question and a whole solution, and says how right that is.

    judge = JudgeGrader({"judge:ask.txt": GradePrompt(text)}, load, Sampling(temperature=0.0), "judge.store")
    with CompositePool("accuracy*0.5 + judge:ask.txt*0.5", judge=judge) as pool:
        pool.verdicts([(text, problem)])

Answers lie in a rollout store, under the whole text of what was asked: killed and begun again, or with other weights,
nothing is judged twice. An answer without a verdict earns nothing and is counted; above a share of them the run is
refused, because a judge that does not follow the instructions is no judge.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from erprm.engines.base import Engine, Sampling
from erprm.errors import InputError
from erprm.judging.asking import Question, ask_missing, judge_settings
from erprm.judging.prompt import GradePrompt
from erprm.problems import Problem
from erprm.rollouts.store import RolloutStore

LEAST = 20  # answers that the share of malformed ones is of, where there are fewer yet


class JudgeGrader:
    """Grades by asking. Its engine is loaded, and its store opened, when they are first needed.

    Args:
        prompts: what is asked, by the name of the part in a composed reward.
        load: gives the engine.
        place: the store's folder or URL; it is locked until `close`.
        malformed: largest share of answers without a verdict, of at least `LEAST` answers.
        part: answers committed together.
    """

    def __init__(self, prompts: Mapping[str, GradePrompt], load: Callable[[], Engine], sampling: Sampling,
                 place: str | Path, *, seed: int = 0, malformed: float = 0.2, part: int = 256) -> None:
        self._prompts, self._load, self._sampling, self._place = prompts, load, sampling, place
        self._seed, self._malformed, self._part = seed, malformed, part
        self._engine: Engine | None = None
        self._store: RolloutStore | None = None
        self._open = ExitStack()  # of the store
        self._texts: dict[str, str] = {}  # answers by key
        self._judged: dict[tuple[str, str], float | None] = {}  # rewards by part and key
        self._lock = threading.Lock()

    def settings(self) -> dict[str, str]:
        """What rewards depend on, for a store of completions."""
        about = [judge_settings(self._loaded(), self._sampling, self._seed),
                 {name: [prompt.text, prompt.pattern] for name, prompt in sorted(self._prompts.items())}]
        return {"grader.judge": _digest(about)}

    def rewards(self, part: str, asked: Sequence[tuple[str, Problem]]) -> list[float | None]:
        """The reward of each (solution's text, problem), in order; None where the judge's answer has no verdict.

        Raises:
            InputError: when too many answers have none (one is quoted), or the store was begun with another engine.
        """
        prompt = self._prompts[part]
        questions = [Question(_digest(text), text, problem.id) for text, problem in
                     ((prompt.of(solution, problem), problem) for solution, problem in asked)]
        with self._lock:
            store = self._opened()
            missing = {one.key: (one, 0) for one in questions if one.key not in self._texts}
            for records in ask_missing(store, self._loaded(), self._sampling, list(missing.values()), self._seed,
                                       self._part):
                self._texts |= {record.prefix_id: record.text for record in records}
            for one in questions:
                if (part, one.key) not in self._judged:
                    self._judged[part, one.key] = prompt.verdict(self._texts[one.key])
            self._refuse_nonsense()
            return [self._judged[part, one.key] for one in questions]

    def _refuse_nonsense(self) -> None:
        bad = [key for (_, key), reward in self._judged.items() if reward is None]
        if len(bad) > self._malformed * max(LEAST, len(self._judged)):
            raise InputError(f"judge: {len(bad):,} of {len(self._judged):,} answers have no verdict (at most "
                             f"{self._malformed:.0%} may), for example {self._texts[bad[0]][-80:]!r}; give another "
                             "judge, prompt or verdict pattern")

    def _loaded(self) -> Engine:
        if self._engine is None:
            self._engine = self._load()
        return self._engine

    def _opened(self) -> RolloutStore:
        if self._store is None:
            settings = judge_settings(self._loaded(), self._sampling, self._seed)
            self._store = self._open.enter_context(RolloutStore.open(self._place, settings))
            for table in self._store.completed(texts=True):
                self._texts |= dict(zip(table["prefix_id"].to_pylist(), table["text"].to_pylist(), strict=True))
        return self._store

    def close(self) -> None:
        """Unlock the store and free the engine; both come again when needed."""
        with self._lock:
            self._open.close()
            if self._engine is not None:
                self._engine.close()
            self._store = self._engine = None


def _digest(about: object) -> str:
    """32 hex digits."""
    return hashlib.blake2b(json.dumps(about, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass"),
                           digest_size=16).hexdigest()
