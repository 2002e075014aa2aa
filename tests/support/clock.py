"""A clock of the test's own."""


class Clock:
    """Stands at `now`, in seconds, until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
