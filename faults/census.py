"""The service with one more metric, the number of its asyncio tasks: `python -m faults.census serve --port 8000`.

Only this test needs the number: it shows that no task is left behind.
"""

import asyncio
import functools
import sys

from app.observability import metrics

TASKS = "faults_asyncio_tasks"


def count_tasks() -> None:
    """Make `/metrics` report the number of tasks, which are counted in the event loop that answers it."""
    original = metrics.exposition

    @functools.wraps(original)
    def exposition() -> bytes:
        return original() + f"{TASKS} {len(asyncio.all_tasks())}\n".encode()

    metrics.exposition = exposition


if __name__ == "__main__":
    from app.cli import main

    count_tasks()
    main(sys.argv[1:])
