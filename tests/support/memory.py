"""A folder in memory for the data of test servers, which create and delete thousands of files."""

import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest creates a private folder in it
NEEDED_BYTES = 4 * 1024**3
"""Far more than a run uses, so that other programs keep their memory."""


def memory_folder() -> Path | None:
    """The folder, None where there is none of sufficient size, or where programs in it may not run."""
    try:
        state = os.statvfs(SHARED_MEMORY)
    except (AttributeError, OSError):
        return None
    is_large = state.f_bavail * state.f_frsize >= NEEDED_BYTES
    runs_programs = not state.f_flag & getattr(os, "ST_NOEXEC", 0)
    return SHARED_MEMORY if is_large and runs_programs and os.access(SHARED_MEMORY, os.W_OK) else None
