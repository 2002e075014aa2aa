"""Measures the service against the physical limit of the machine: `make bench`."""
