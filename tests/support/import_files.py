"""Files for the command `allocation import`."""

from collections.abc import Sequence
from pathlib import Path

SKUS = 10


def write_csv(file: Path, header: str, rows: Sequence[str]) -> None:
    file.write_text("\n".join((header, *rows)) + "\n")


def write_batches(directory: Path, qty: int) -> None:
    rows = [f"batch-{number},SKU-{number},{qty}," for number in range(SKUS)]
    write_csv(directory / "batches.csv", "ref,sku,qty,eta", rows)
