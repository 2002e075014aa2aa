"""The length of Python files: a longer one has more than one subject."""

from tests.support import plain_english

MAX_LINES = 300


def test_no_python_file_has_more_than_300_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in plain_english.files(["*.py"])}
    assert {
        str(path.relative_to(plain_english.ROOT)): lines for path, lines in lengths.items() if lines > MAX_LINES
    } == {}
