"""Headers of files: what the rows are, in which columns, and the forms that spreadsheets give them."""

import pytest

from app.domain.commands import Allocate, Command, CreateBatch
from app.integration.file_rows import UnreadableFileError, UnreadableRowError, csv_reader, separator_of

LINE = Allocate(order_id="o1", sku="CHAIR", qty=3)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (b"order_id,sku,qty", Allocate),
        (b"order_id,sku,qty\r", Allocate),
        (b"\xef\xbb\xbforder_id,sku,qty", Allocate),
        (b'"order_id","sku","qty"', Allocate),
        (b"ref,sku,qty", CreateBatch),
        (b"ref,sku,qty,eta", CreateBatch),
        (b"order_id,sku,qty,from,good_until", Allocate),
        (b"order_id,sku,qty,GOOD_UNTIL, From ", Allocate),
        (b"ref,sku,qty,blocked,best_before,location", CreateBatch),
    ],
)
def test_the_header_says_what_the_rows_are(header: bytes, kind: type[Command]) -> None:
    assert isinstance(csv_reader(header)(b"a,b,1" + b"," * (header.count(b",") - 2)), kind)


def test_the_columns_stand_in_any_order() -> None:
    assert csv_reader(b"qty,order_id,if_unavailable,sku")(b"3,o1,backorder,CHAIR") == LINE


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"o1,CHAIR,3",
        b"order_id,sku",
        b"order_id,sku,qty,eta",
        b"order_id,sku,qty,colour",
        b"order_id,sku,qty,qty",
        b"order_id,sku;qty",
        b"order_id,sku,qty,ref",
        b"order_id,sku,qty,location",
        b"order_id,sku,qty,from_locations",
        b"ref,sku,qty,from",
        b"ref,sku,qty,good_until",
        b",,",
        "order_id,sku,qty".encode("utf-16"),
        b'"order_id,sku,qty',
    ],
)
def test_another_header_is_refused(header: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="header"):
        csv_reader(header)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (b"Order_ID, SKU ,QTY", b"o1,CHAIR,3"),
        (b"order_id;sku;qty", b"o1;CHAIR;3"),
        (b"order_id\tsku\tqty\r", b"o1\tCHAIR\t3\r"),
        (b'"order_id";"sku";"qty"', b'"o1";"CHAIR";"3"'),
        (b"order_id,sku,qty,,", b"o1,CHAIR,3,,"),
        (b"order_id,sku,qty,,", b"o1,CHAIR,3"),
        (b"order_id,,sku,qty", b"o1,,CHAIR,3"),
        (b"\xef\xbb\xbfORDER_ID;SKU;QTY;;;", b"o1;CHAIR;3;;;"),
    ],
)
def test_a_file_out_of_a_spreadsheet_is_read_where_it_has_one_meaning(header: bytes, row: bytes) -> None:
    read = csv_reader(header)
    assert read(row) == LINE
    separator = next(each for each in (b";", b"\t", b",") if each in row)
    for blank in (b"", b" \r", separator * 3, separator * 9, b"  " + separator):
        assert read(blank) is None


def test_a_cell_under_no_name_is_not_dropped() -> None:
    with pytest.raises(UnreadableRowError, match="column 4 has no name"):
        csv_reader(b"order_id,sku,qty,,")(b"o1,CHAIR,3,urgent,")


def test_columns_that_are_not_known_are_named_and_left_out_only_where_that_is_asked_for() -> None:
    header = b"order_id;sku;qty;Comment;Colour"
    with pytest.raises(UnreadableFileError, match="unknown: colour,comment"):
        csv_reader(header)
    assert csv_reader(header, ignore_unknown=True)(b"o1;CHAIR;3;call first;") == LINE


def test_a_header_of_both_kinds_needs_the_kind() -> None:
    header = b"order_id,ref,sku,qty"
    with pytest.raises(UnreadableFileError, match="header fits lines and batches; use --kind lines or --kind batches"):
        csv_reader(header, ignore_unknown=True)
    assert csv_reader(header, "lines", ignore_unknown=True)(b"o1,b1,CHAIR,3") == LINE


@pytest.mark.parametrize("line", [b"sep=;", b"SEP=;\r", b'"sep=;"', b"\xef\xbb\xbfsep=;"])
def test_the_line_of_excel_names_the_separator(line: bytes) -> None:
    separator = separator_of(line)
    assert separator == ";"
    assert csv_reader(b"order_id;sku;qty", separator=separator)(b"o1;CHAIR;3") == LINE
    assert separator_of(b"order_id;sku;qty") is None


def test_utf_16_is_called_by_its_name() -> None:
    with pytest.raises(UnreadableFileError, match="UTF-16"):
        csv_reader("order_id,sku,qty".encode("utf-16"))


BATCH_COLUMNS = "ref,sku,qty,eta,location,best_before,blocked"


def test_a_kind_that_was_asked_for_has_to_be_there() -> None:
    with pytest.raises(
        UnreadableFileError, match=r"has to be ref,sku,qty,eta,location,best_before,blocked, not order_id,sku,qty"
    ):
        csv_reader(b"order_id,sku,qty", "batches")


def test_a_wrong_header_does_not_advise_to_hold() -> None:
    with pytest.raises(
        UnreadableFileError, match="order_id,sku,qty,line,if_unavailable,from,good_until,priority, not order,sku,qty"
    ):
        csv_reader(b"order,sku,qty", "lines")
