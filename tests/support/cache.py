"""Where tests keep what they have fetched, outside of the repository."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`ALLOCATION_TEST_CACHE`, by default `~/.cache/allocation-tests`. It need not be there yet."""
    return Path(os.environ.get("ALLOCATION_TEST_CACHE") or Path.home() / ".cache" / "allocation-tests")
