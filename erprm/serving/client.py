"""A served model as a scorer: what a training process calls where the PRM lies on another machine.

    client = PRMClient("http://127.0.0.1:8008")
    client.score([("2+3*4?", ["3*4=12", "2+12=14"])])           # [array [2] float64]
    PRMReward(client, mode="softmin")
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.values import Array


class PRMClient:
    """Scores through `erprm serve`.

    Args:
        url: "http://host:port".
        batch_steps: most steps in one request; more are asked for in several.
        timeout: seconds for one request, and for how long a service that is full is asked again.
    """

    def __init__(self, url: str, *, batch_steps: int = 1024, timeout: float = 600.0) -> None:
        self._url, self._batch_steps, self._timeout = url.rstrip("/"), batch_steps, timeout

    def score(self, texts: Sequence[tuple[str, Sequence[str]]]) -> list[Array]:
        """Step scores [L] of each (question, steps).

        Raises:
            InputError: with the service's own words for a text that its model can't read; when none answers.
        """
        result: list[Array] = []
        start = 0
        while start < len(texts):
            stop, steps = start + 1, len(texts[start][1])
            while stop < len(texts) and steps + len(texts[stop][1]) <= self._batch_steps:
                steps += len(texts[stop][1])
                stop += 1
            answer = self._ask("/score", {"solutions": [{"question": question, "steps": list(steps)}
                                                        for question, steps in texts[start:stop]]})
            result += [np.array(item["scores"], np.float64) for item in answer["solutions"]]
            start = stop
        return result

    def _ask(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        until = time.monotonic() + self._timeout
        while True:
            request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    message = " ".join(error.read().decode(errors="replace").split())
                if error.code != 503 or time.monotonic() > until:
                    raise InputError(f"{self._url}{path}: {error.code} {message[:400]}") from error
                time.sleep(float(error.headers.get("Retry-After", 1)))
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                raise InputError(f"{self._url}: expected erprm serve to answer, found: "
                                 f"{getattr(error, 'reason', error)}") from error
