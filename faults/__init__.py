"""Injects faults into real processes and checks that nothing was lost or doubled: `make faults`."""
