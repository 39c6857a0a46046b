"""The service's addresses, over a `Batcher`: what comes in is limited, checked and scored in common batches.

    GET  /          the page where people look
    GET  /health    {"status", "model", "form", "busy", "answered", "refused", "batches"}
    POST /score     {"solutions": [{"question", "solution"}]} to {"solutions": [{"steps", "scores", ...}]}
    POST /rewards   the same with the fields of `erprm.policy.crediting.RewardOptions` to {"solutions": [{"rewards"}]}
    POST /rows      a file of scored rows, as bytes, to what the page shows of it

What is refused is answered with {"error": "one line"}: 400 malformed, 408 too slow, 413 too large, 415 no JSON, 422 a
solution that the model can't read, 503 too many requests at a time or stopping (`Retry-After` says when to come again).
Request bodies must be JSON by their content type, which another site's page can't send.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from erprm.errors import InputError
from erprm.policy.crediting import RewardOptions
from erprm.policy.reward import pay
from erprm.prm.checkpoints.forms import HIGH, LOW
from erprm.rows import StepRow
from erprm.selection.aggregate import AGGREGATIONS, aggregate, deciding_step
from erprm.serving.batcher import Batcher, Scored
from erprm.serving.limits import Limits
from erprm.serving.page import page
from erprm.serving.requests import (
    RequestError,
    Solution,
    outcomes_of,
    parse,
    reward_options_of,
    rows_of,
    solutions_of,
)

_REWARD_FIELDS = tuple(item.name for item in fields(RewardOptions))
_JSON, _BYTES = "application/json", "application/octet-stream"
_SHOWN = ("prompt", "steps", "scores", "outcome", "answer", "gold", "successes", "trials", "solution_id", LOW, HIGH)


@dataclass(slots=True)
class Counts:
    """Requests: being answered, answered, refused; and whether the service is stopping."""

    busy: int = 0
    answered: int = 0
    refused: int = 0
    stopping: bool = False


class Service:
    """Answers requests with a batcher's scores.

    Args:
        model: its name, for people.
        form: of its checkpoint.
    """

    def __init__(self, batcher: Batcher, model: str, form: str, limits: Limits) -> None:
        self.batcher, self.model, self.form, self.limits, self.counts = batcher, model, form, limits, Counts()

    def health(self) -> dict[str, Any]:
        """How it is."""
        counts = self.counts
        return {"status": "stopping" if counts.stopping else "ok", "model": self.model, "form": self.form,
                "busy": counts.busy, "answered": counts.answered, "refused": counts.refused,
                "batches": self.batcher.batches}

    async def score(self, request: Request) -> dict[str, Any]:
        """Step scores; a solution that the model can't read refuses the request."""
        solutions = solutions_of(parse(await self._body(request, _JSON)), self.limits)
        for index, solution in enumerate(solutions):
            if not solution.steps:
                raise RequestError(422, f"solutions[{index}]: expected at least one step, found none")
        found = await self._scores(solutions)
        answers = []
        for index, scores in enumerate(found):
            if isinstance(scores, InputError):
                raise RequestError(422, f"solutions[{index}]: {_reason(scores)}")
            answers.append({"steps": list(solutions[index].steps), **summary(*of_columns(scores))})
        return {"solutions": answers}

    async def rewards(self, request: Request) -> dict[str, Any]:
        """Rewards per step and in sum; a solution that the model can't read is worth 0 and says why."""
        record = parse(await self._body(request, _JSON))
        solutions = solutions_of(record, self.limits, _REWARD_FIELDS)
        options = reward_options_of(record)
        outcomes = outcomes_of(solutions, options)
        known = iter(await self._scores([solution for solution in solutions if solution.steps]))
        found = [next(known) if solution.steps else None for solution in solutions]
        values = [item if item is None or isinstance(item, InputError) else np.array(of_columns(item)[0])
                  for item in found]
        paid = pay([solution.question for solution in solutions], [solution.text for solution in solutions],
                   [solution.steps for solution in solutions], values, outcomes, options)
        result = []
        for solution, scores, item in zip(solutions, found, paid, strict=True):
            answer = {"steps": list(solution.steps), "ends": item.ends, "rewards": item.rewards.tolist(),
                      "reward": float(item.rewards.sum()),
                      "scores": None if item.scores is None else item.scores.tolist()}
            if isinstance(scores, InputError):
                answer["unread"] = _reason(scores)
            result.append(answer)
        return {"solutions": result}

    async def rows(self, request: Request) -> dict[str, Any]:
        """What the page shows of a scored file; rows without scores are counted."""
        rows = await asyncio.to_thread(rows_of, await self._body(request, _BYTES))
        scored = [row for row in rows if row.scores is not None]
        return {"rows": [_shown(row) for row in scored], "without_scores": len(rows) - len(scored)}

    async def _scores(self, solutions: Sequence[Solution]) -> Scored:
        texts = [(solution.question.strip(), tuple(solution.steps)) for solution in solutions]
        return await asyncio.wrap_future(self.batcher.submit(texts)) if texts else []

    async def _body(self, request: Request, kind: str) -> bytes:
        given = request.headers.get("content-type", "none").partition(";")[0].strip().lower()
        if given != kind:
            raise RequestError(415, f"content-type: expected {kind}, found {given[:80]}")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size <= self.limits.max_body:  # the rest is read and dropped, so that the answer is read too
                        parts.append(part)
        except TimeoutError as error:
            raise RequestError(408, f"body: expected within {self.limits.body_seconds:g} s, found {size:,} bytes of it"
                               ) from error
        if size > self.limits.max_body:
            raise RequestError(413, f"body: expected at most {self.limits.max_body_mb:g} MB, found {size / 1e6:.1f} MB")
        return b"".join(parts)

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Counts a request while it is answered. Raises RequestError where there is no room for it."""
        if self.counts.stopping:
            raise RequestError(503, "the service is stopping")
        if self.counts.busy >= self.limits.max_requests:
            raise RequestError(503, f"{self.counts.busy} requests are being answered, as many as --max-requests allows;"
                                    " come again")
        self.counts.busy += 1
        try:
            yield
        finally:
            self.counts.busy -= 1


def create_app(service: Service, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The service as an ASGI application that answers requests for `hosts`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    document, policy = page(service.model, service.form)

    def post(path: str, answer: Callable[[Request], Awaitable[dict[str, Any]]]) -> None:
        async def handle(request: Request) -> Response:
            async with service.admitted():
                response = JSONResponse(await answer(request))
                service.counts.answered += 1
                return response

        app.add_api_route(path, handle, methods=["POST"])

    post("/score", service.score)
    post("/rewards", service.rewards)
    post("/rows", service.rows)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse(service.health(), headers={"Cache-Control": "no-store"})

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(document, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer",
                                               "X-Content-Type-Options": "nosniff"})

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        service.counts.refused += 1
        return _error(error.status, str(error), {"Retry-After": "1"} if error.status == 503 else None)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        service.counts.refused += 1
        return _error(error.status_code, f"{request.method} {request.url.path[:80]}: {error.detail}", error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:  # the server prints its traceback
        return _error(500, f"{type(error).__name__}: {error}", None)

    return app


def allowed_hosts(host: str) -> tuple[str, ...]:
    """The names under which a service bound to `host` is asked: on loopback only its own, so that another site's page
    can't reach it under a name that it lets point here."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return ("localhost", "127.0.0.1", "[::1]", "::1", host) if loopback else ("*",)


def of_columns(scores: npt.NDArray[np.floating]) -> list[list[float]]:
    """What a scorer says of L steps, [L], or [L, 3] with the ends of the score's interval, as one or three lists."""
    return [[float(value) for value in column] for column in scores.reshape(len(scores), -1).T]


def summary(scores: Sequence[float], low: Sequence[float] = (), high: Sequence[float] = ()) -> dict[str, Any]:
    """Step scores, with the solution's score and the deciding step (from 0) by every aggregation; `low` and `high` are
    the ends of the scores' intervals, where the model has them."""
    interval = {LOW: list(low), HIGH: list(high)} if low else {}
    return {"scores": list(scores), **interval, "totals": {how: float(aggregate(scores, how)) for how in AGGREGATIONS},
            "decides": {how: deciding_step(scores, how) for how in AGGREGATIONS}}


def _shown(row: StepRow) -> dict[str, Any]:
    record = row.to_dict()
    return {"problem": row.problem_key, **{name: record[name] for name in _SHOWN if name in record},
            **summary(row.scores or ())}


def _reason(error: InputError) -> str:
    return str(error).removeprefix("row 1: ")


def _error(status: int, message: str, headers: Mapping[str, str] | None) -> Response:
    return JSONResponse({"error": " ".join(message.split())}, status, headers=dict(headers or {}))
