"""The service with housekeeping every few seconds instead of every hour: `python -m faults.housekeeping consume`."""

import sys

INTERVAL = 15.0
"""Seconds."""

if __name__ == "__main__":
    from app.cli import main
    from app.entrypoints import components

    components.PRUNE_INTERVAL = INTERVAL
    main(sys.argv[1:])
