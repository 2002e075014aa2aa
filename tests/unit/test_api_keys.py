"""Keys in a file: who they let in, and what happens when the file changes."""

import errno
import hashlib
import logging
import os
import stat
import tomllib
from pathlib import Path

import pytest

from app.adapters.identity.api_keys import ApiKeyFileError, ApiKeys, format_entry, new_key, read_keys
from app.service_layer.callers import Caller, InvalidCredentialsError, Scope
from tests.support.keys import add_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "api-keys.toml"


def added(file: Path, name: str = "shop", *scopes: Scope) -> str:
    return add_key(file, name, scopes or ("read",))


async def test_a_key_identifies_the_caller_and_its_scopes(file: Path) -> None:
    shop, warehouse = added(file, "shop", "orders:write", "read"), added(file, "warehouse", "stock:write")
    keys = ApiKeys(file)
    assert await keys.check(shop) == Caller("shop", frozenset({"orders:write", "read"}))
    assert await keys.check(warehouse) == Caller("warehouse", frozenset({"stock:write"}))


async def test_what_is_no_key_is_refused(file: Path) -> None:
    key = added(file)
    keys = ApiKeys(file)
    hashed = hashlib.sha256(key.encode()).hexdigest()
    for wrong in ("", key[:-1], key + "x", key.upper(), hashed, "shop", "ä", new_key()):
        with pytest.raises(InvalidCredentialsError):
            await keys.check(wrong)


async def test_a_key_is_compared_with_all_of_them_and_in_constant_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = added(file, "first"), added(file, "last")
    keys = ApiKeys(file)
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("app.adapters.identity.api_keys.hmac.compare_digest", compare_digest)
    for key in (first, last):
        await keys.check(key)
    assert len(compared) == 4


async def test_a_key_that_was_shown_before_is_known_without_a_comparison(file: Path) -> None:
    key, wrong = added(file), new_key()
    keys = ApiKeys(file)
    assert keys.recall(key) is None
    caller = await keys.check(key)
    assert keys.recall(key) is caller
    with pytest.raises(InvalidCredentialsError):
        await keys.check(wrong)
    assert keys.recall(wrong) is None


async def test_a_file_that_changes_is_read_again(file: Path) -> None:
    old = added(file, "old")
    keys = ApiKeys(file, check_interval=0)
    await keys.check(old)
    assert keys.recall(old) is not None
    new = added(file, "new")
    assert (await keys.check(new)).principal == "new"
    file.write_text("")
    for key in (old, new):
        assert keys.recall(key) is None
        with pytest.raises(InvalidCredentialsError):
            await keys.check(key)


async def test_a_file_that_takes_the_others_place_is_read(file: Path, tmp_path: Path) -> None:
    """As Kubernetes changes a secret: the name leads to another file, which may be as old and as large."""
    old = added(file, "old")
    keys = ApiKeys(file, check_interval=0)
    await keys.check(old)
    other = tmp_path / "other"
    new = added(other, "new")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert (await keys.check(new)).principal == "new"


async def test_a_file_of_the_same_age_and_size_is_read_again(file: Path) -> None:
    """As `rsync -t` or `cp -p` write it, into the same file."""
    old = added(file, "old")
    keys = ApiKeys(file, check_interval=0)
    await keys.check(old)
    before, new = file.stat(), new_key()
    file.write_text(format_entry("new", new, ["read"]))
    assert file.stat().st_size == before.st_size
    # The clock of the files may be too coarse to distinguish the two at once.
    while file.stat().st_ctime_ns == before.st_ctime_ns or file.stat().st_mtime_ns != before.st_mtime_ns:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await keys.check(new)).principal == "new"
    assert keys.recall(old) is None


async def test_a_file_that_could_not_be_read_for_a_moment_is_read_as_soon_as_it_can(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    withdrawn = added(file, "withdrawn")
    keys = ApiKeys(file, check_interval=0)
    await keys.check(withdrawn)
    new = new_key()
    file.write_text(format_entry("new", new, ["read"]))

    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        for _ in range(3):
            assert keys.recall(withdrawn) is not None
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert keys.recall(withdrawn) is None
    assert (await keys.check(new)).principal == "new"


async def test_a_file_that_goes_away_twice_is_logged_twice(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, away = added(file), file.with_suffix(".away")
    keys = ApiKeys(file, check_interval=0)
    for _ in range(2):
        await keys.check(key)
        file.rename(away)
        await keys.check(key)
        away.rename(file)
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2


BROKEN = [
    "[[keys",
    'keys = "none"',
    "[[keys]]\nname = 'x'",
    "[[keys]]\nname = 'x'\nsha256 = 'short'\nscopes = []",
    f"[[keys]]\nname = ''\nsha256 = '{'a' * 64}'\nscopes = []",
    f"[[keys]]\nname = 'x'\nsha256 = '{'a' * 64}'\nscopes = ['all']",
    f"[[keys]]\nname = 'x'\nsha256 = '{'a' * 64}'\nscopes = []\nkey = 'a secret'",
    f"[[keys]]\nname = 'x'\nsha256 = '{'a' * 64}'\nscopes = []\n" * 2,
    b"\xff",
    None,
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
async def test_a_broken_file_is_logged_once_and_leaves_the_keys_as_they_were(
    file: Path, content: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = added(file)
    keys = ApiKeys(file, check_interval=0)
    await keys.check(key)
    file.unlink()
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for _ in range(3):
        assert (await keys.check(key)).principal == "shop"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert str(file) in record.getMessage()
    assert "a secret" not in caplog.text
    with pytest.raises(ApiKeyFileError) as fault:
        read_keys(file)
    assert "\n" not in str(fault.value)
    assert "a secret" not in str(fault.value)
    file.unlink(missing_ok=True)
    fixed = added(file, "fixed")
    assert (await keys.check(fixed)).principal == "fixed"


async def test_the_file_is_not_looked_at_by_each_request(file: Path) -> None:
    key = added(file)
    keys = ApiKeys(file, check_interval=3600)
    await keys.check(key)
    file.unlink()
    assert (await keys.check(key)).principal == "shop"


async def test_no_key_is_logged_or_kept(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key, wrong = added(file), new_key()
    keys = ApiKeys(file, check_interval=0)
    await keys.check(key)
    with pytest.raises(InvalidCredentialsError) as refused:
        await keys.check(wrong)
    for secret in (key, wrong):
        assert secret not in caplog.text
        assert secret not in str(refused.value)
        assert secret not in file.read_text()


def test_a_name_may_be_any_that_can_be_printed(file: Path) -> None:
    names = ["shop", 'the "big" shop', "C:\\shop", "Käse & Söhne", "a" * 255]
    for name in names:
        added(file, name)
    assert [entry["name"] for entry in tomllib.loads(file.read_text())["keys"]] == names
    for name in ("", "a\nb", "a" * 256):
        with pytest.raises(ValueError, match="printable"):
            format_entry(name, new_key(), ["read"])


def test_a_file_that_is_made_is_its_owners_alone(file: Path) -> None:
    added(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_keys_are_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == 47 and key.startswith("alc_") for key in keys)
