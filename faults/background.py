"""Work that goes on beside a fault, on a thread of its own."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """Runs from the beginning of a `with` block to its end."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    @abstractmethod
    def _run(self) -> None:
        """Work until `_stopping` is set."""

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and wait for the end."""
        self._stopping.set()
        self._thread.join()
