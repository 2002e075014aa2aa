"""Which cell has what, and how a group of commands is divided among cells."""

import itertools

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.postgresql import event_ids, statements
from app.adapters.postgresql.cells import qualified
from app.domain.commands import (
    Allocate,
    CancelOrder,
    ChangeBatchQuantity,
    CheckOutCart,
    Command,
    CreateBatch,
    OrderedLine,
    PlaceOrder,
    ShipLine,
)
from app.service_layer.cells import ONE_CELL, OVER_CELLS, CellMap
from app.service_layer.request_keys import keys_of

FOUR = CellMap(4)
NAMES = [f"NAME-{number}" for number in range(40)]
IN_CELL = {cell: [name for name in NAMES if FOUR.of(name) == cell] for cell in range(4)}
names = st.sampled_from(NAMES[:6])
commands = st.one_of(
    st.builds(lambda order, sku: Allocate(order_id=order, sku=sku, qty=1), names, names),
    st.builds(lambda order, sku: ShipLine(order_id=order, sku=sku), names, names),
    st.builds(lambda ref, sku: CreateBatch(ref=ref, sku=sku, qty=1), names, names),
    st.builds(lambda ref: ChangeBatchQuantity(ref=ref, qty=1), names),
    st.builds(lambda order: CancelOrder(order_id=order), names),
    st.builds(
        lambda order, skus: PlaceOrder(order_id=order, lines=[OrderedLine(sku=sku, qty=1) for sku in skus]),
        names,
        st.lists(names, min_size=1, max_size=3, unique=True),
    ),
)


@given(st.text(max_size=50), st.sampled_from([2, 4, 12]))
def test_a_cell_is_the_partition_that_kafka_chooses(name: str, number: int) -> None:
    partitions = list(range(number))

    assert CellMap(number).of(name) == DefaultPartitioner()(name.encode(), partitions, partitions)


@given(st.text(max_size=50), st.sampled_from([1, 2, 4]), st.integers(1, 6))
def test_a_partition_has_one_cell_if_the_cells_divide_the_partitions(name: str, cells: int, times: int) -> None:
    partitions = list(range(cells * times))

    partition = DefaultPartitioner()(name.encode(), partitions, partitions)

    assert CellMap(cells).of(name) == partition % cells


def test_one_cell_has_everything() -> None:
    order = PlaceOrder(order_id="order", lines=[OrderedLine(sku=name, qty=1) for name in NAMES[:5]])

    assert {ONE_CELL.of(name) for name in NAMES} == {ONE_CELL.of_command(order)} == {0}
    assert ONE_CELL.parts_of([order, order]) == [[0, 1]]


@pytest.mark.parametrize("cell", range(4))
def test_a_command_on_one_product_is_in_its_cell(cell: int) -> None:
    sku = IN_CELL[cell][0]

    assert FOUR.of_command(Allocate(order_id="any", sku=sku, qty=1)) == cell
    assert FOUR.of_command(ShipLine(order_id="any", sku=sku)) == cell


@pytest.mark.parametrize(
    "command",
    [
        CreateBatch(ref=IN_CELL[0][0], sku=IN_CELL[1][0], qty=1),
        PlaceOrder(order_id=IN_CELL[0][0], lines=[OrderedLine(sku=IN_CELL[2][0], qty=1)]),
        PlaceOrder(
            order_id=IN_CELL[0][0], lines=[OrderedLine(sku=sku, qty=1) for sku in (IN_CELL[0][1], IN_CELL[3][0])]
        ),
    ],
)
def test_a_command_that_needs_rows_of_several_cells_is_over_cells(command: Command) -> None:
    assert FOUR.of_command(command) == OVER_CELLS


@pytest.mark.parametrize(
    "command",
    [
        ChangeBatchQuantity(ref=IN_CELL[0][0], qty=1),
        PlaceOrder(order_id=IN_CELL[0][0], lines=[OrderedLine(sku=IN_CELL[0][1], qty=1)]),
        CancelOrder(order_id=IN_CELL[0][0]),
        CheckOutCart(cart_id=IN_CELL[0][0], new_order_id=IN_CELL[0][1]),
    ],
)
def test_a_command_whose_products_are_not_known_keeps_its_place_among_all_others(command: Command) -> None:
    """A batch or an order does not say which products it has, and they may be in other cells than its name."""
    before, after = (Allocate(order_id="any", sku=IN_CELL[1][0], qty=qty) for qty in (1, 2))

    assert FOUR.of_command(command) == OVER_CELLS
    assert FOUR.parts_of([before, command, after]) == [[0], [1], [2]]


@given(st.lists(commands, max_size=12))
def test_the_parts_of_a_group_are_of_one_cell_and_keep_the_order_of_common_rows(group: list[Command]) -> None:
    parts = FOUR.parts_of(group)

    order = list(itertools.chain.from_iterable(parts))
    assert sorted(order) == list(range(len(group)))
    for part in parts:
        cells = [FOUR.of_command(group[position]) for position in part]
        assert len(set(cells)) == 1 or cells[0] == cells[-1] == OVER_CELLS
    for before, after in itertools.combinations(order, 2):
        assert before < after or not keys_of(group[before]) & keys_of(group[after])


def test_one_part_has_all_from_the_first_to_the_last_command_over_cells() -> None:
    lines = [Allocate(order_id=str(number), sku=IN_CELL[number % 2][0], qty=1) for number in range(4)]
    order = CancelOrder(order_id="order")

    group = [*lines, order, *lines, order, *lines]
    assert FOUR.parts_of(group) == [[0, 2], [1, 3], [4, 5, 6, 7, 8, 9], [10, 12], [11, 13]]


def test_commands_of_two_cells_that_alternate_make_two_parts() -> None:
    group = [Allocate(order_id=str(number), sku=IN_CELL[number % 2][0], qty=1) for number in range(6)]

    assert FOUR.parts_of(group) == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT products.sku FROM products", "SELECT products.sku FROM cell_1.products"),
        ("INSERT INTO events (id) SELECT $1", "INSERT INTO cell_1.events (id) SELECT $1"),
        (
            "UPDATE products SET sequence = new.n FROM new WHERE products.sku = new.sku",
            "UPDATE cell_1.products SET sequence = new.n FROM new WHERE products.sku = new.sku",
        ),
        ("DELETE FROM order_lines USING new", "DELETE FROM cell_1.order_lines USING new"),
        (event_ids._DRAW, " SELECT " + event_ids.NEXT_BLOCK_BY_TIME.replace("events_id", "cell_1.events_id")),
        ("SELECT 'events'::regclass", "SELECT 'cell_1.events'::regclass"),
        ("SELECT events FROM event_archives", "SELECT events FROM cell_1.event_archives"),
        ("SELECT lines FROM unnest($1) AS orders", "SELECT lines FROM unnest($1) AS orders"),
        ("SELECT 1 FROM cell_1.products", "SELECT 1 FROM cell_1.products"),
    ],
)
def test_tables_get_the_schema_of_the_cell(statement: str, expected: str) -> None:
    assert qualified(statement, "cell_1") == expected
    assert qualified(statement, None) == statement


@pytest.mark.parametrize("statement", sorted(statements.LOCKING))
def test_a_lock_in_a_cell_counts_as_a_write(statement: str) -> None:
    """Citus then takes it on the server of the cell, and does not move the cell before the transaction has ended."""
    fence = "WITH fence AS (DELETE FROM cell_1.outbox WHERE id = 0)"

    assert qualified(statement, "cell_1").startswith(fence)
    assert qualified(statement, None) == statement


def test_every_statement_that_locks_products_or_names_is_known_as_such() -> None:
    texts = {text for text in vars(statements).values() if isinstance(text, str)}
    locks = {text for text in texts if "advisory_xact_lock" in text or "FOR NO KEY UPDATE" in text}

    # The rows of carts are locked after their names.
    assert locks == statements.LOCKING | {statements.CARTS}
