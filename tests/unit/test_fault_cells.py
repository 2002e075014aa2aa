"""The faults with several cells: how many partitions there are, and which rounds are left out."""

import pytest

from faults.__main__ import _chosen
from faults.database import Database
from faults.load import Pace
from faults.plan import Plan
from faults.scenarios import FAULTS
from faults.topics import PARTITIONS, partitions_of


@pytest.mark.parametrize("cells", [1, 2, 4, 16])
def test_the_number_of_partitions_is_a_multiple_of_the_cells_also_after_some_were_added(cells: int) -> None:
    """Otherwise a partition would have the messages of two cells."""
    assert partitions_of(cells) >= PARTITIONS
    assert partitions_of(cells) % cells == partitions_of(cells, later=True) % cells == 0
    assert partitions_of(cells, later=True) > partitions_of(cells)


def test_a_round_from_a_release_without_cells_is_left_out_and_the_reason_is_printed() -> None:
    """With one cell it is played."""
    said: list[str] = []

    def plan(cells: int) -> Plan:
        return Plan(False, 1, 1, Pace(1, 1, 1), {}, 1.0, 1.0, said.append, cells=cells)

    assert _chosen([], "apache", plan(1)) == list(FAULTS)
    assert said == []
    assert _chosen([], "apache", plan(4)) == [name for name in FAULTS if name != "upgrade"]
    assert said == ["upgrade: skipped, because the release before has no cells"]


def test_the_tables_of_several_cells_are_in_their_schemas_and_in_control() -> None:
    """With one cell they are in the schema of the connection."""
    assert Database("", 1).schemas == (None,)
    assert Database("", 2).schemas == ("cell_0", "cell_1", "control")
