"""The service with one more metric, the number of its asyncio tasks: `python -m faults.census serve --port 8000`.

The service itself has no use for that number; it is here to show that none of its tasks is left behind.
"""

import asyncio
import functools
import sys

from app.observability import metrics

TASKS = "faults_asyncio_tasks"


def count_tasks() -> None:
    """Have `/metrics` tell how many tasks there are. It is answered in the event loop, so they can be counted there."""
    original = metrics.exposition

    @functools.wraps(original)
    def exposition() -> bytes:
        return original() + f"{TASKS} {len(asyncio.all_tasks())}\n".encode()

    metrics.exposition = exposition


if __name__ == "__main__":
    from app.cli import main

    count_tasks()
    main(sys.argv[1:])
