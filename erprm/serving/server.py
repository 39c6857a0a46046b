"""The service as a process: a socket, a model, and a stop that loses no request.

    serve(PRMScorer("runs/prm"), "runs/prm", "127.0.0.1", 8008, Limits())

SIGTERM or SIGINT: no new request is taken, those that run are answered, then the process ends with exit code 0; a
second SIGINT ends it at once.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn

from erprm.errors import InputError
from erprm.prm.scoring.scorer import Scorer
from erprm.serving.app import Service, allowed_hosts, create_app
from erprm.serving.batcher import Batcher
from erprm.serving.limits import Limits

_BACKLOG = 1024  # connections that the system holds until they are taken


class _Server(uvicorn.Server):
    """Tells the service that it stops as soon as it is told itself."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: object) -> None:
        """See uvicorn."""
        self._service.counts.stopping = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def serve(scorer: Scorer, model: str, host: str, port: int, limits: Limits,
          announce: Callable[[str], object] = print) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        scorer: used by one thread, for all requests.
        port: 0 takes a free one.
        announce: called with the address once connections are taken.

    Raises:
        InputError: when the address can't be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host} --port {port}: expected an address to listen at, found: {error}") from error
    with listening, Batcher(scorer) as batcher:
        service = Service(batcher, model, scorer.checkpoint.form, limits)
        server = _Server(uvicorn.Config(
            create_app(service, allowed_hosts(host)), log_level="warning", access_log=False, server_header=False,
            lifespan="off", timeout_graceful_shutdown=round(limits.stop_seconds)), service)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        announce(f"http://{shown}:{listening.getsockname()[1]}")
        server.run(sockets=[listening])
