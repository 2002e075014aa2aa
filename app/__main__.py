"""`python -m app` is `allocation`."""

from app.cli import main

main()
