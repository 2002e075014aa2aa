"""The commands of the README and of other pages, and the output that they show for them."""

import json
import re
import subprocess
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
URL = "http://127.0.0.1:8000"
"""Where the README's service runs; tests put their own in its place."""


def session(page: Path = README) -> list[tuple[str, str]]:
    """The commands of the console blocks of the page, each with the output below it."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in steps]


def assert_the_session_gives_what_the_readme_shows(url: str, page: Path = README) -> None:
    """Play the session of the page against the service at the URL."""
    script, expected = "", ""
    for command, output in session(page):
        script += f"{command.replace(URL, url)}\necho\n"
        expected += f"{output}\n"
    assert "{" in expected
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
    assert _values(shown) == _values(expected)


def without_times(lines: str) -> str:
    """JSON without the ends of holds, which are others in each session."""
    return re.sub(r'"held_until": ?"[^"]+"', '"held_until":"a time"', lines)


def _values(lines: str) -> list[object]:
    return [json.loads(line) for line in without_times(lines).splitlines() if line]


def block(language: str, word: str) -> str:
    """The one block of the language that has the word in it."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = [each for each in blocks if word in each]
    return found
