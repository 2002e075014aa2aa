"""`python -m allocation` is `allocation`."""

from allocation import main

main()
