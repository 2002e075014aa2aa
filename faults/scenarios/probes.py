"""Requests that no actor sends, repeated: reads, health, and a write without an effect."""

import http.client
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from app.embedded.process import LOOPBACK
from faults.actors import HOT
from faults.client import TIMEOUT

READS = (
    ("GET", f"/v1/products/{HOT}"),
    ("GET", "/v1/batches/h0-b1"),
    ("GET", "/v1/allocations/nobodys-order"),
)
# The response is 404 without an event, so the oracle can ignore it.
WRITE = ("DELETE", f"/v1/allocations/nobodys-order/{HOT}")
READY, ALIVE = ("GET", "/readyz"), ("GET", "/livez")
QUESTIONS = (*READS, WRITE, READY, ALIVE)
UNAVAILABLE = 503
INTERVAL = 0.1


@dataclass(frozen=True)
class Probed:
    """A request and its response; `status` None without one within `faults.client.TIMEOUT`."""

    question: tuple[str, str]
    port: int
    sent: float
    at: float
    status: int | None
    retry_after: str | None

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.at - self.sent

    @property
    def is_expected(self) -> bool:
        """Whether it is a normal response with a working database: found, or not found."""
        return self.status is not None and self.status < UNAVAILABLE

    def __str__(self) -> str:
        return f"{' '.join(self.question)} at {self.port}: {self.status} after {self.seconds:.1f} s"


class Probes:
    """Sends all requests to each port in its own threads, while its `with` block runs."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._stopping = threading.Event()
        self._answers: list[Probed] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(question, port)) for question in QUESTIONS for port in ports
        ]

    def answers(self, since: float, until: float = float("inf")) -> list[Probed]:
        """The answered requests of that period."""
        return [probed for probed in list(self._answers) if since <= probed.sent <= until]

    def all_are_well(self, since: float) -> bool:
        """Whether the latest response to each request at each port began since then, and is as expected."""
        latest = {(probed.question, probed.port): probed for probed in self.answers(since)}
        return len(latest) == len(self._threads) and all(probed.is_expected for probed in latest.values())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, question: tuple[str, str], port: int) -> None:
        while not self._stopping.wait(INTERVAL):
            sent = time.time()
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT)
            status = retry_after = None
            try:
                connection.request(*question)
                with connection.getresponse() as response:
                    response.read()
                    status, retry_after = response.status, response.getheader("Retry-After")
            except (OSError, http.client.HTTPException):
                # No response is a result as well.
                pass
            finally:
                connection.close()
            self._answers.append(Probed(question, port, sent, time.time(), status, retry_after))
