"""The journal of a load: every command and every response, in memory and as JSON lines in a file.

Times are wall-clock times, because they are compared with times of PostgreSQL and Kafka on this machine.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Via = Literal["http", "kafka"]
Kind = Literal[
    "create_batch",
    "change_batch",
    "count_product",
    "set_reorder_point",
    "allocate",
    "cancel",
    "ship",
    "place_order",
    "cancel_order",
    "hold_order",
    "set_item",
    "check_out",
]

SERVER_ERROR = 500
STILL_RUNNING = "idempotency-key-in-use"
"""The code of the response while an earlier attempt with the same Idempotency-Key is running."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one attempt; `status` is None without one (disconnected, timed out).

    The broker's acknowledgement of a record counts as status 200. `headers` are stored for 5xx only.
    """

    sent: float
    at: float
    status: int | None
    body: Any = None
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_definite(self) -> bool:
        """Whether the response shows the command's outcome, unlike 5xx and while an earlier attempt is running."""
        if self.status is None or self.status >= SERVER_ERROR:
            return False
        return not (isinstance(self.body, dict) and self.body.get("code") == STILL_RUNNING)

    @property
    def seconds(self) -> float:
        """The duration of the attempt."""
        return self.at - self.sent


@dataclass(slots=True)
class Entry:
    """A command and its responses. `id` is the request id of each attempt, or the `ce_id`, and the cause of its events.

    `key` is the record key if it is not the SKU: messages about one order must stay in order. `idempotency_key` is sent
    with each attempt over HTTP. An entry that `repeats` another one is the same request with the same Idempotency-Key.
    """

    id: str
    actor: str
    via: Via
    kind: Kind
    data: dict[str, Any]
    answers: list[Answer] = field(default_factory=list)
    key: str = ""
    idempotency_key: str = ""
    repeats: str = ""

    @property
    def final(self) -> Answer | None:
        """The definite response, None if there is none yet."""
        return self.answers[-1] if self.answers and self.answers[-1].is_definite else None

    @property
    def had_unknown(self) -> bool:
        """Whether an attempt had an unknown outcome."""
        return any(not answer.is_definite for answer in self.answers)

    @property
    def line(self) -> tuple[str, str]:
        """The order line of the command."""
        return self.data["order_id"], self.data["sku"]

    @property
    def skus(self) -> set[str]:
        """The SKUs of the command."""
        return {line["sku"] for line in self.data.get("lines", [self.data]) if "sku" in line}

    @property
    def subject(self) -> str:
        """The order, cart, batch or product of the command. Only its own client sends commands about it."""
        kinds = {"order_id": "order", "cart_id": "cart", "ref": "batch", "sku": "product"}
        return next(f"{kind} {self.data[name]}" for name, kind in kinds.items() if name in self.data)

    def __str__(self) -> str:
        """Enough to find the entry in the file."""
        return f"{self.kind} {self.id} ({self.via}, {', '.join(f'{name}={what}' for name, what in self.data.items())})"


@dataclass(frozen=True, slots=True)
class Read:
    """A GET of a product or of the lines of an order, and its response: 200 or 404."""

    id: str
    answer: Answer
    sku: str = ""
    order_id: str = ""


class Journal:
    """All entries in the order of their start, and all reads, thread-safe.

    `settled` is the number of entries with a definite response.
    """

    def __init__(self, file: Path) -> None:
        self.entries: list[Entry] = []
        self.reads: list[Read] = []
        self.settled = 0
        self._answers: list[tuple[Entry, Answer]] = []
        self._lock = threading.Lock()
        self._file = file.open("w", encoding="utf-8")

    def begin(self, entry: Entry) -> None:
        """Record that a command is about to be sent."""
        with self._lock:
            self.entries.append(entry)
            self._write({"at": "begin", **asdict(entry)})

    def note(self, entry: Entry, answer: Answer) -> None:
        """Record a response to it."""
        with self._lock:
            entry.answers.append(answer)
            self._answers.append((entry, answer))
            self.settled += answer.is_definite
            self._write({"at": "answer", "id": entry.id, **asdict(answer)})

    def note_read(self, read: Read) -> None:
        """Record a read."""
        with self._lock:
            self.reads.append(read)
            self._write({"at": "read", **asdict(read)})

    def answers(self, since: float = 0.0) -> Iterator[tuple[Entry, Answer]]:
        """All responses since then with their commands, the latest first."""
        with self._lock:
            count = len(self._answers)
        for place in range(count - 1, -1, -1):
            if self._answers[place][1].at < since:
                return
            yield self._answers[place]

    def last_server_error(self) -> float | None:
        """The time of the last 5xx."""
        return max((answer.at for _, answer in self.answers() if (answer.status or 0) >= SERVER_ERROR), default=None)

    def longest_wait(self) -> float:
        """The longest duration of an HTTP attempt, in seconds."""
        return max((answer.seconds for entry, answer in self.answers() if entry.via == "http"), default=0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        """Write a line; the caller holds the lock."""
        self._file.write(json.dumps(line) + "\n")
