"""The URL of a database: which servers it names, and which forms are refused."""

import pytest
from sqlalchemy.engine import make_url

from app.adapters.postgresql.database_url import DatabaseUrl


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("db", ["db:5432"]),
        ("db:6432", ["db:6432"]),
        ("db1:5432,db2:5433", ["db1:5432", "db2:5433"]),
        ("db1,db2,db3", ["db1:5432", "db2:5432", "db3:5432"]),
        ("db1,db2:5433", ["db1:5432", "db2:5433"]),
        ("[::1]:5432,[2001:db8::1]", ["[::1]:5432", "[2001:db8::1]:5432"]),
        ("10.0.0.1:5432,db-2.example.com", ["10.0.0.1:5432", "db-2.example.com:5432"]),
    ],
)
def test_a_url_names_one_server_or_several(servers: str, expected: list[str]) -> None:
    text = f"postgresql+asyncpg://user:p%40ss,word@{servers}/stock?application_name=a,b"
    database = DatabaseUrl.parse(text)
    assert list(map(str, database.servers)) == expected
    assert (database.url.username, database.url.password, database.url.database) == ("user", "p@ss,word", "stock")
    assert database.url.query == {"application_name": "a,b"}
    assert database.place == f"{','.join(expected)}/stock"
    assert "word" not in f"{database!r}{database.place}"


def test_a_url_with_one_server_is_read_as_sqlalchemy_reads_it() -> None:
    text = "postgresql+asyncpg://user:password@db:6432/stock?prepared_statement_cache_size=0"
    assert DatabaseUrl.parse(text).url == make_url(text)


def test_the_target_is_not_part_of_what_sqlalchemy_reads() -> None:
    database = DatabaseUrl.parse("postgresql+asyncpg://db1,db2/stock?target_session_attrs=prefer-standby")
    assert (database.target, database.url.query) == ("prefer-standby", {})


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "postgresql+asyncpg:///stock",
        "postgresql+asyncpg://db1,,db2/stock",
        "postgresql+asyncpg://db1:5432,/stock",
        "postgresql+asyncpg://db1:0/stock",
        "postgresql+asyncpg://db1:65536/stock",
        "postgresql+asyncpg://db1:x,db2/stock",
        "postgresql+asyncpg://db 1,db2/stock",
        "postgresql+asyncpg://%2Fvar%2Frun,db2/stock",
        "postgresql+asyncpg://::1,db2/stock",
        "postgresql+asyncpg://secret#@db1,db2/stock",
        "postgresql+asyncpg://user:secret@db1,other@db2/stock",
        "postgresql+asyncpg://db1/stock?target_session_attrs=writable",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should") as refused:
        DatabaseUrl.parse(text)
    assert "secret" not in str(refused.value)
