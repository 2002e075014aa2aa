"""Breaks the service in every way, on real processes, and looks for what was lost or doubled: `make faults`."""
