"""How much one request of the service may hold, and how many are answered at a time."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.options import check, option


@dataclass(frozen=True)
class Limits:
    """What one request may hold, and how many are answered at a time."""

    max_body_mb: float = option(8.0, help="largest body of a request, in MB", above=0)
    max_steps: int = option(4096, help="most steps of a request, over all of its solutions", least=1)
    max_requests: int = option(128, help="most requests at a time; further ones are told to come again (503)", least=1)
    body_seconds: float = option(60.0, help="time for a request's body to arrive", above=0)
    stop_seconds: float = option(60.0, help="time for running requests to end when the service is stopped", above=0)

    def __post_init__(self) -> None:
        check(self)

    @property
    def max_body(self) -> int:
        """In bytes."""
        return int(self.max_body_mb * 1e6)
