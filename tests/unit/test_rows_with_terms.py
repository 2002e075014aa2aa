"""Rows of files that say where a batch is and how long it is good, or what a line needs of its batch."""

import json
from datetime import date
from typing import Any

import pytest

from app.domain.commands import Allocate, Command, CreateBatch
from app.integration.file_rows import UnreadableRowError, csv_reader, ndjson_reader

BATCH = {"ref": "b1", "sku": "CHAIR", "qty": 3}
LINE = {"order_id": "o1", "sku": "CHAIR", "qty": 3}
DAY = date(2030, 6, 30)


def batch(**terms: Any) -> CreateBatch:
    return CreateBatch.model_validate({**BATCH, **terms})


def line(**terms: Any) -> Allocate:
    return Allocate.model_validate({**LINE, **terms})


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("berlin,2030-06-30,true", batch(location="berlin", best_before=DAY, blocked=True)),
        ("berlin,,FALSE", batch(location="berlin")),
        (",2030-06-30,", batch(best_before=DAY)),
        (",,", batch()),
    ],
)
def test_a_row_of_csv_has_the_terms_of_a_batch(cells: str, expected: Command) -> None:
    assert csv_reader(b"ref,sku,qty,location,best_before,blocked")(f"b1,CHAIR,3,{cells}".encode()) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("berlin,2030-06-30", line(**{"from": ["berlin"], "good_until": DAY})),
        ("berlin paris  rome,", line(**{"from": ["berlin", "paris", "rome"]})),
        (",2030-06-30", line(good_until=DAY)),
        (",", line()),
    ],
)
def test_a_row_of_csv_has_the_requirements_of_a_line(cells: str, expected: Command) -> None:
    read = csv_reader(b"order_id,sku,qty,from,good_until")(f"o1,CHAIR,3,{cells}".encode())
    assert read == expected
    assert isinstance(read, Allocate)
    assert isinstance(expected, Allocate)
    assert read.requirements == expected.requirements


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("new york,,", "location: String should match pattern"),
        (",30.06.2030,", "best_before: a date has the form YYYY-MM-DD, such as 2030-12-31, not 30.06.2030"),
        (",2030-02-30,", "best_before: Input should be a date of the calendar"),
        (",,yes", "blocked: Input should be a valid boolean"),
        (",,1", "blocked: Input should be a valid boolean"),
        ("new york,,no", "blocked: Input should be a valid boolean"),
    ],
)
def test_a_bad_term_of_a_batch_says_why(cells: str, reason: str) -> None:
    with pytest.raises(UnreadableRowError) as refusal:
        csv_reader(b"ref,sku,qty,location,best_before,blocked")(f"b1,CHAIR,3,{cells}".encode())
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("berlin|paris,", "from: String should match pattern"),
        (f"{' '.join(f'l{number}' for number in range(17))},", "from: List should have at most 16 items"),
        (",06/30/2030", "good_until: a date has the form YYYY-MM-DD, such as 2030-12-31, not 06/30/2030"),
        (",today", "good_until: a date has the form YYYY-MM-DD, such as 2030-12-31, not today"),
    ],
)
def test_a_bad_requirement_of_a_line_says_why(cells: str, reason: str) -> None:
    with pytest.raises(UnreadableRowError) as refusal:
        csv_reader(b"order_id,sku,qty,from,good_until")(f"o1,CHAIR,3,{cells}".encode())
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {**BATCH, "location": "berlin", "best_before": "2030-06-30", "blocked": True},
            batch(location="berlin", best_before=DAY, blocked=True),
        ),
        ({**BATCH, "best_before": None}, batch()),
        (
            {**LINE, "from": ["berlin", "paris"], "good_until": "2030-06-30"},
            line(**{"from": ["berlin", "paris"], "good_until": DAY}),
        ),
    ],
)
def test_a_row_of_ndjson_has_the_same(row: dict[str, Any], expected: Command) -> None:
    assert ndjson_reader()(json.dumps(row).encode()) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**LINE, "from": "berlin"}, "from: Input should be a valid list"),
        ({**LINE, "from": [1]}, "from: Input should be a valid string"),
        ({**LINE, "from": None}, "from: Input should be a valid list"),
        ({**LINE, "good_until": 7}, "good_until: Input should be a date in the form YYYY-MM-DD"),
        ({**LINE, "good_until": None}, "good_until: Input should be a valid date"),
        ({**LINE, "location": "berlin"}, "location: Extra inputs are not permitted"),
        ({**BATCH, "blocked": "true"}, "blocked: Input should be a valid boolean"),
        ({**BATCH, "location": None}, "location: Input should be a valid string"),
        ({**BATCH, "best_before": "2030-6-30"}, "best_before: a date has the form YYYY-MM-DD"),
        ({**BATCH, "from": ["berlin"]}, "from: Extra inputs are not permitted"),
    ],
)
def test_a_bad_row_of_ndjson_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableRowError) as refusal:
        ndjson_reader()(json.dumps(row).encode())
    assert reason in str(refusal.value)


def test_the_column_line_names_the_line() -> None:
    read = csv_reader(b"order_id,sku,qty,line")
    assert read(b"o1,CHAIR,3,2") == line(line="2")
    assert read(b"o1,CHAIR,3,") == line()
    with pytest.raises(UnreadableRowError, match="line: "):
        read(b"o1,CHAIR,3,a/b")
