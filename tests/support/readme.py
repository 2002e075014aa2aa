"""What the README tells people to type, and what it says they will see."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
URL = "http://127.0.0.1:8000"
"""Where the README's service runs; tests put their own in its place."""


def session() -> list[tuple[str, str]]:
    """The commands of the console blocks, each with the output that stands below it."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in steps]


def block(language: str, word: str) -> str:
    """The one block of the language that has the word in it."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = [each for each in blocks if word in each]
    return found
