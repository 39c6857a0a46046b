"""The service as a process: a socket, a model, and a stop that loses no request.

    with bound("127.0.0.1", 8008) as address:                          # taken before a model is loaded
        serve(PRMScorer("runs/prm"), "runs/prm", "127.0.0.1", address, Limits())

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


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, to which nobody can connect yet; port 0 takes a free one.

    Raises:
        InputError: when the address can't be had.
    """
    try:
        if not host:
            raise OSError("no address; 0.0.0.0 stands for all of this machine's")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        taken = socket.socket(family)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((host, port))
        except BaseException:
            taken.close()
            raise
    except (OSError, OverflowError, ValueError, TypeError) as error:
        raise _refused(host, port, error) from error
    return taken


def _refused(host: str, port: int, error: Exception) -> InputError:
    return InputError(f"--host {host} --port {port}: expected an address to listen at, found: {error}")


def serve(scorer: Scorer, model: str, host: str, address: socket.socket, limits: Limits,
          announce: Callable[[str], object] = print) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        scorer: used by one thread, for all requests.
        host: the address as its user wrote it: a name is the one under which the service is asked.
        address: see `bound`.
        announce: called with the address once connections are taken.

    Raises:
        InputError: when another process listens at the address by now.
    """
    port = address.getsockname()[1]
    try:
        address.listen(_BACKLOG)
    except OSError as error:
        raise _refused(host, port, error) from error
    with Batcher(scorer) as batcher:
        service = Service(batcher, model, scorer.checkpoint.form, limits)
        server = _Server(uvicorn.Config(
            create_app(service, allowed_hosts(host)), log_level="warning", access_log=False, server_header=False,
            lifespan="off", timeout_graceful_shutdown=round(limits.stop_seconds)), service)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        server.run(sockets=[address])
