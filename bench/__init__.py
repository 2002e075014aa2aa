"""Compares the service with the limits of the machine: `make bench`."""
