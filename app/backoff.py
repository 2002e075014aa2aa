"""Exponential backoff."""


def next_delay(previous: float, *, first: float, longest: float) -> float:
    """Seconds to wait before the next attempt: `first` after a delay of 0, then twice the last, at most `longest`."""
    return min(longest, 2 * previous or first)
