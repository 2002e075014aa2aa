"""A pseudo-terminal, for a command in this process or for one that runs until it is stopped."""

import os
import pty
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl

import pytest

WIDTH = 160
HEIGHT = 40
SECONDS = 60.0


class Screen:
    """What has been written to a terminal so far."""

    def __init__(self) -> None:
        self._outside, self.inside = pty.openpty()
        ioctl(self.inside, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self._read = bytearray()
        self._reader = threading.Thread(target=self._keep_reading, name="screen")
        self._reader.start()

    @property
    def text(self) -> str:
        """All of it, control sequences included."""
        return self._read.decode(errors="replace")

    def end(self) -> None:
        """Close our end; what others still have open keeps it open."""
        os.close(self.inside)
        self._reader.join(SECONDS)
        assert not self._reader.is_alive(), "the terminal is still open elsewhere"
        os.close(self._outside)

    def _keep_reading(self) -> None:
        while True:
            try:
                shown = os.read(self._outside, 65536)
            except OSError:  # Linux reports the end as an error.
                return
            if not shown:
                return
            self._read += shown


@contextmanager
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """Standard output is a terminal while the block runs; afterwards the screen has all that was written."""
    screen = Screen()
    try:
        with monkeypatch.context() as patch, os.fdopen(os.dup(screen.inside), "w") as stdout:
            patch.setenv("TERM", "xterm-256color")
            for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
                patch.delenv(name, raising=False)
            patch.setattr(sys, "stdout", stdout)
            yield screen
    finally:
        screen.end()
