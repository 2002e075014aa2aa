"""Rows of files: what each becomes, and that a bad one spoils only itself."""

from datetime import date

import pytest

from app.domain.commands import Allocate, Command, CountBatch, CountProduct, CreateBatch
from app.integration.file_rows import (
    LONGEST_ROW,
    RowReader,
    UnreadableFileError,
    UnreadableRowError,
    csv_reader,
    ndjson_reader,
)

LINE = Allocate(order_id="o1", sku="CHAIR", qty=3)


@pytest.fixture
def lines() -> RowReader:
    return csv_reader(b"order_id,sku,qty,if_unavailable")


@pytest.fixture
def batches() -> RowReader:
    return csv_reader(b"ref,sku,qty,eta")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"o1,CHAIR,3,", LINE),
        (b"o1,CHAIR,3,\r", LINE),
        (b'"o1","CHAIR","3",""', LINE),
        (b'"o1",CHAIR,"3",reject\r', Allocate(order_id="o1", sku="CHAIR", qty=3, if_unavailable="reject")),
        (b"o1,CHAIR,2147483647,backorder", Allocate(order_id="o1", sku="CHAIR", qty=2_147_483_647)),
    ],
)
def test_a_row_of_csv_is_an_order_line(lines: RowReader, row: bytes, expected: Command) -> None:
    assert lines(row) == expected


@pytest.mark.parametrize(
    ("row", "eta"),
    [
        (b"b1,CHAIR,5,", None),
        (b"b1,CHAIR,5,2030-01-01", date(2030, 1, 1)),
        (b'b1,CHAIR,5,"2030-01-01"', date(2030, 1, 1)),
    ],
)
def test_a_row_of_csv_is_a_batch_and_without_an_eta_it_is_in_the_warehouse(
    batches: RowReader, row: bytes, eta: date | None
) -> None:
    assert batches(row) == CreateBatch(ref="b1", sku="CHAIR", qty=5, eta=eta)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"o1,CHAIR,3", "the row has 3 columns, the header 4"),
        (b"o1,CHAIR,3,,", "the row has 5 columns, the header 4"),
        (b"o1,CHAIR,three,", "qty: Input should be a valid integer"),
        (b"o1,CHAIR,3.0,", "qty: Input should be a valid integer"),
        (b"o1,CHAIR, 3,", "qty: Input should be a valid integer"),
        (b"o1,CHAIR,+3,", "qty: Input should be a valid integer"),
        (b"o1,CHAIR,1_0,", "qty: Input should be a valid integer"),
        (b"o1,CHAIR,1e3,", "qty: Input should be a valid integer"),
        ("o1,CHAIR,\uff13,".encode(), "qty: Input should be a valid integer"),
        (b"o1,CHAIR," + b"9" * 5000 + b",", "qty: Input should be a valid integer"),
        (b"o1,CHAIR,0,", "qty: Input should be greater than or equal to 1"),
        (b"o1,CHAIR,-1,", "qty: Input should be greater than or equal to 1"),
        (b"o1,CHAIR,2147483648,", "qty: Input should be less than or equal to 2147483647"),
        (b"o1,CHAIR,,", "qty: Field required"),
        (b",CHAIR,1,", "order_id: Field required"),
        (b"o1,CHAIR,3,wait", "if_unavailable: Input should be 'backorder' or 'reject'"),
        (b'"o1,CHAIR,3,', "the row is not CSV: unexpected end of data"),
        (b'"o1"x,CHAIR,3,', """the row is not CSV: ',' expected after '"'"""),
        (b"o\xff,CHAIR,3,", "the row is not UTF-8"),
        (b"o1,CHAIR,3," + b"x" * LONGEST_ROW, "the row is longer than 65536 bytes"),
    ],
)
def test_a_bad_row_of_csv_says_why(lines: RowReader, row: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRowError) as refusal:
        lines(row)

    assert str(refusal.value) == reason


def test_everything_that_is_wrong_with_a_row_is_said(lines: RowReader) -> None:
    with pytest.raises(UnreadableRowError, match=r"order_id: .*; sku: Field required; qty: .*"):
        lines(b"-,,x,")


@pytest.mark.parametrize("eta", ["31.12.2030", "12/31/2030", "2030-12-31T00:00", "2030-1-1", "20301231", "1924905600"])
def test_dates_as_spreadsheets_write_them_are_refused_with_the_right_form(batches: RowReader, eta: str) -> None:
    with pytest.raises(UnreadableRowError, match=r"eta: a date has the form YYYY-MM-DD"):
        batches(f"b1,CHAIR,5,{eta}".encode())


@pytest.mark.parametrize("qty", ["10.0", '"1,000"', "1 000", "10.5"])
def test_quantities_as_spreadsheets_write_them_are_refused(lines: RowReader, qty: str) -> None:
    with pytest.raises(UnreadableRowError, match="qty: Input should be a valid integer"):
        lines(f"o1,CHAIR,{qty},".encode())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b'{"order_id":"o1","sku":"CHAIR","qty":3}', LINE),
        (b'\xef\xbb\xbf {"qty":3, "sku":"CHAIR", "order_id":"o1"} \r', LINE),
        (b'{"ref":"b1","sku":"CHAIR","qty":3,"eta":"2030-01-01"}',
         CreateBatch(ref="b1", sku="CHAIR", qty=3, eta=date(2030, 1, 1))),
        (b'{"ref":"b1","sku":"CHAIR","qty":3,"eta":null}', CreateBatch(ref="b1", sku="CHAIR", qty=3)),
        (b'{"ref":"b1","on_hand_qty":3,"shipped_qty":0}', CountBatch(ref="b1", on_hand_qty=3, shipped_qty=0)),
        (b'{"sku":"CHAIR","on_hand_qty":0,"reason":"lost"}', CountProduct(sku="CHAIR", on_hand_qty=0, reason="lost")),
    ],
)  # fmt: skip
def test_a_line_of_ndjson_is_a_line_or_a_batch_or_a_count(row: bytes, expected: Command) -> None:
    assert ndjson_reader()(row) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "the row is not JSON: "),
        (b'{"qty": NaN}', "the row is not JSON: "),
        (b'{"ref": "\xff"}', "the row is not JSON: "),
        (
            b'{"ref": "b1", "sku": "CHAIR", "qty": 3, "qty": 4}',
            "the row is not JSON: an object has the same name twice",
        ),
        (b"[" * 5000, "the row is not JSON: "),
        (b"[]", "the row is not a JSON object"),
        (b'{"order_id":"o1","sku":"CHAIR","qty":"3"}', "qty: Input should be a valid integer"),
        (b'{"order_id":"o1","sku":"CHAIR","qty":3,"eta":null}', "eta: Extra inputs are not permitted"),
        (b'"' + b"x" * LONGEST_ROW + b'"', "the row is longer than 65536 bytes"),
    ],
)
def test_a_bad_line_of_ndjson_says_why(row: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRowError) as refusal:
        ndjson_reader()(row)

    assert str(refusal.value).startswith(reason)


@pytest.mark.parametrize("kind", [None, "counts"])
@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (b"sku,on_hand_qty", b"17,3", CountProduct(sku="17", on_hand_qty=3)),
        (b"On_Hand_Qty;SKU;Expected_On_Hand_Qty", b"0;CHAIR;", CountProduct(sku="CHAIR", on_hand_qty=0)),
        (
            b"sku,on_hand_qty,expected_on_hand_qty,reason,reference",
            b"CHAIR,3,5,lost,17",
            CountProduct(sku="CHAIR", on_hand_qty=3, expected_on_hand_qty=5, reason="lost", reference="17"),
        ),
        (b"ref,on_hand_qty", b"b1,3", CountBatch(ref="b1", on_hand_qty=3)),
        (b"ref,on_hand_qty,shipped_qty", b"b1,3,4", CountBatch(ref="b1", on_hand_qty=3, shipped_qty=4)),
    ],
)
def test_a_row_of_csv_is_a_count(kind: str | None, header: bytes, row: bytes, expected: Command) -> None:
    assert csv_reader(header, kind)(row) == expected


def test_a_count_is_of_either_a_batch_or_a_product() -> None:
    header = b"ref,sku,on_hand_qty"
    with pytest.raises(UnreadableFileError, match="header has to be"):
        csv_reader(header)
    with pytest.raises(UnreadableFileError, match="keep either ref or sku"):
        csv_reader(header, ignore_unknown=True)
    with pytest.raises(UnreadableRowError, match="sku: Extra inputs are not permitted"):
        ndjson_reader("counts")(b'{"ref":"b1","sku":"CHAIR","on_hand_qty":3}')


def test_a_column_of_counts_in_a_file_of_batches_is_unknown() -> None:
    header = b"ref,sku,qty,on_hand_qty"
    assert csv_reader(header, ignore_unknown=True)(b"b1,CHAIR,3,2") == CreateBatch(ref="b1", sku="CHAIR", qty=3)
    with pytest.raises(UnreadableFileError, match="unknown: on_hand_qty"):
        csv_reader(header, "batches")


@pytest.mark.parametrize(("cell", "reason"), [("3.0", "valid integer"), ("-1", "greater than"), ("", "Field required")])
def test_a_bad_count_says_why(cell: str, reason: str) -> None:
    with pytest.raises(UnreadableRowError, match=f"on_hand_qty: .*{reason}"):
        csv_reader(b"sku,on_hand_qty,reason")(f"CHAIR,{cell},lost".encode())


def test_lines_of_ndjson_may_all_have_to_be_of_one_kind() -> None:
    with pytest.raises(UnreadableRowError, match="order_id: Field required"):
        ndjson_reader("lines")(b'{"ref":"b1","sku":"CHAIR","qty":3}')


@pytest.mark.parametrize("ignore_unknown", [False, True])
def test_a_file_cannot_hold_stock(ignore_unknown: bool) -> None:
    with pytest.raises(UnreadableFileError, match="the header has hold_for: an imported line cannot be held"):
        csv_reader(b"order_id,sku,qty,hold_for", "lines", ignore_unknown=ignore_unknown)
    for seconds in ("600", '"600"', "null"):
        with pytest.raises(UnreadableRowError, match="hold_for: an imported line cannot be held"):
            ndjson_reader()(b'{"order_id":"o1","sku":"CHAIR","qty":3,"hold_for":%s}' % seconds.encode())
