"""Background work during a fault, in its own thread."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """Runs while its `with` block does."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    @abstractmethod
    def _run(self) -> None:
        """Work until `_stopping` is set."""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread and wait for its end."""
        self._stopping.set()
        self._thread.join()
