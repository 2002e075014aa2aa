"""The journal of a load: every command as it was sent, and every answer, in memory and as JSON lines in a file.

Times are those of the wall clock, since they are compared with what PostgreSQL and Kafka write down on this machine.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Via = Literal["http", "kafka"]
Kind = Literal["create_batch", "change_batch", "allocate", "cancel", "ship", "place_order", "cancel_order"]

SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one attempt; `status` None where nothing did (hung up, timed out).

    The acknowledgement of a record by the broker is an answer of status 200. `headers` are those of an error of
    the server.
    """

    sent: float
    at: float
    status: int | None
    body: Any = None
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_definite(self) -> bool:
        """Whether it says what became of the command. An error of the server's leaves that open."""
        return self.status is not None and self.status < SERVER_ERROR

    @property
    def seconds(self) -> float:
        """How long the caller waited."""
        return self.at - self.sent


@dataclass(slots=True)
class Entry:
    """A command and its answers. `id` is the request id of each attempt, or the `ce_id`: what its events name.

    `key` is that of its record where it is not the SKU: what one order is told has to stay in order.
    """

    id: str
    actor: str
    via: Via
    kind: Kind
    data: dict[str, Any]
    answers: list[Answer] = field(default_factory=list)
    key: str = ""

    @property
    def final(self) -> Answer | None:
        """The definite answer, None while there is none."""
        return self.answers[-1] if self.answers and self.answers[-1].is_definite else None

    @property
    def had_unknown(self) -> bool:
        """Whether an attempt left open what became of it."""
        return any(not answer.is_definite for answer in self.answers)

    @property
    def line(self) -> tuple[str, str]:
        """The order line that it is about."""
        return self.data["order_id"], self.data["sku"]

    @property
    def skus(self) -> set[str]:
        """The SKUs that it names."""
        return {line["sku"] for line in self.data.get("lines", [self.data])}

    @property
    def subject(self) -> str:
        """The order or the batch that it is about. Only its own client asks for anything about it."""
        return f"order {self.data['order_id']}" if "order_id" in self.data else f"batch {self.data['ref']}"

    def __str__(self) -> str:
        """Enough to find it in the file."""
        return f"{self.kind} {self.id} ({self.via}, {', '.join(f'{name}={what}' for name, what in self.data.items())})"


class Journal:
    """All entries in the order in which they were begun. Any thread may write and read.

    `settled` is how many of them have a definite answer.
    """

    def __init__(self, file: Path) -> None:
        self.entries: list[Entry] = []
        self.settled = 0
        self._answers: list[tuple[Entry, Answer]] = []
        self._lock = threading.Lock()
        self._file = file.open("w", encoding="utf-8")

    def begin(self, entry: Entry) -> None:
        """Note that a command is about to be sent."""
        with self._lock:
            self.entries.append(entry)
            self._write({"at": "begin", **asdict(entry)})

    def note(self, entry: Entry, answer: Answer) -> None:
        """Note what came back for it."""
        with self._lock:
            entry.answers.append(answer)
            self._answers.append((entry, answer))
            self.settled += answer.is_definite
            self._write({"at": "answer", "id": entry.id, **asdict(answer)})

    def answers(self, since: float = 0.0) -> Iterator[tuple[Entry, Answer]]:
        """Every answer since then with its command, the latest first."""
        with self._lock:
            count = len(self._answers)
        for place in range(count - 1, -1, -1):
            if self._answers[place][1].at < since:
                return
            yield self._answers[place]

    def last_server_error(self) -> float | None:
        """When the last 5xx was answered."""
        return max((answer.at for _, answer in self.answers() if (answer.status or 0) >= SERVER_ERROR), default=None)

    def longest_wait(self) -> float:
        """How long the most patient HTTP caller waited for one answer or for nothing, in seconds."""
        return max((answer.seconds for entry, answer in self.answers() if entry.via == "http"), default=0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        """Write a line; the caller holds the lock."""
        self._file.write(json.dumps(line) + "\n")
