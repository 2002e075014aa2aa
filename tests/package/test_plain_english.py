"""The check of `make lint` that keeps avoided words out."""

from pathlib import Path

import pytest

from tests.support import plain_english


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("The caller is told 409.", "told"),
        ("Whoever reads the topic skips it.", "Whoever"),
        ("def _tell_crossings() -> None: ...", "tell"),
        ("Rows are kept for\n    # ever.", "for # ever"),
        ("A kustomization is no object of Kubernetes.", "is no object"),
    ],
)
def test_refuses_an_avoided_word(sentence: str, words: str) -> None:
    assert [(line, found) for line, found, _ in plain_english.findings(sentence)] == [(1, words)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Raises LowStock when availability falls below reorder_point.",
        "The batch is no longer late, and there is no other one.",
        "if batch.eta is None: return",
        "A fake has the parameters of the object that it stands for.",
        "satellite, foretold, recommend, relies",
    ],
)
def test_accepts_plain_sentences_and_parts_of_words(sentence: str) -> None:
    assert list(plain_english.findings(sentence)) == []


def test_names_file_line_and_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nA batch that is late is mended.\n")
    monkeypatch.setattr(plain_english, "ROOT", tmp_path)
    monkeypatch.setattr(plain_english, "files", lambda _: [page])
    assert plain_english.main([]) == 1
    assert capsys.readouterr().out == 'page.md:3: "mended"; write fix, repair, correct\nAvoided words: 1\n'
