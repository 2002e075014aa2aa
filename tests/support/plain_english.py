"""Keep words out that make the text hard to read: `make lint`.

AVOIDED gives the word and what to write instead; docs/glossary.md has the terms of the domain. The check covers the
folders in CLEAN. `python -m tests.support.plain_english PATH...` checks other paths, whether they are in CLEAN or not.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Regular expressions, matched in any case as whole words. An underscore ends a word, so names are checked as well.
AVOIDED = {
    "tells?|told": "the mechanism: returns, reports, logs, raises, publishes, receives",
    "whoever|nobody|somebody|everybody": "the noun: a caller, an operator, a client, a subscriber",
    "mend(s|ed|ing)?": "fix, repair, correct",
    "stands(?! (in )?for)": "is, or the mechanism",
    "lies": "is",
    r"(?<!there\s)(is|are|was|were) no (?!longer|more|less|\w+er\b)\w+": "is not a ...",
    r"(?<!there\s)(is|are|was|were) (?-i:none)": "is not one, is absent",
    "for ever": "without limit, permanently",
    "ha(s|ve) to do with": "concerns",
    "by (itself|themselves)": "automatically, on its own",
    "(comes?|came) to pass": "happens",
    "bec(a|o)me of": "outcome, status, result",
    "likewise": "also",
    "wherefrom|whereto|thereof": "from where, to which, of it",
    "so many": "the number: `qty` pieces, 200 items",
    "lea(ves?|ving) the house|left the house": "is shipped, was shipped",
}

# Files and folders that are checked, relative to the repository.
CLEAN: tuple[str, ...] = (
    ".ci/",
    ".env.example",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "alembic/",
    "allocation/",
    "app/",
    "bench/",
    "deploy/",
    "docker-compose.yml",
    "docs/",
    "faults/",
    "pyproject.toml",
    "requirements/",
    "tests/",
)

# Texts that cannot change.
PUBLIC_NAMES: tuple[str, ...] = (
    # A method of the JDK.
    "BodyPublishers.noBody()",
    # The Unix user.
    'UNPRIVILEGED_USER = "nobody"',
    # A key in the output of `allocation reconcile --json`.
    '"mended": self.repaired',
    'each["mended"]',
    # Comments that published revisions have stored in databases.
    "null: nobody asked to be told",
    "whose key it is; empty: nobody has to say who",
)

# Written elsewhere, or a list of the avoided words.
SKIPPED = (
    "LICENSE",
    "app/entrypoints/http/static/",
    "tests/api_baseline/",
    "tests/clients/typescript/package-lock.json",
    "tests/package/test_plain_english.py",
    "tests/schemas/",
    "tests/support/plain_english.py",
)
SUFFIXES = {".svg", ".png", ".typed", ".hash"}

# Words of one phrase may be on two lines, with the mark of a comment between them.
_GAP = r"(?:\s|#|//)+"
_RULES = [
    (re.compile(rf"(?<![a-z])(?:{pattern.replace(' ', _GAP)})(?![a-z])", re.IGNORECASE), instead)
    for pattern, instead in AVOIDED.items()
]


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """The avoided words of a text: the line, the words, and what to write instead."""
    for name in PUBLIC_NAMES:
        text = text.replace(name, "-" * len(name))
    for pattern, instead in _RULES:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead


def files(paths: Iterable[str]) -> Iterator[Path]:
    """The files of the repository under these paths, without those that were written elsewhere."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not name.startswith(SKIPPED) and path.suffix not in SUFFIXES and path.is_file():
            yield path


def main(paths: list[str]) -> int:
    """Print what was found under the paths; return the exit status."""
    found = [
        f'{path.relative_to(ROOT)}:{line}: "{words}"; write {instead}'
        for path in files(paths or CLEAN)
        for line, words, instead in sorted(findings(path.read_text()))
    ]
    print("\n".join([*found, f"Avoided words: {len(found)}"] if found else ["Avoided words: none"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
