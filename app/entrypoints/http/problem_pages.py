"""Documentation of the problems: the page that the `type` of a problem refers to, and docs/problems.md.

`python -m app.entrypoints.http.problem_pages` writes the latter.
"""

import html
import re
import sys

from app.entrypoints.http.problem_texts import EXPLANATIONS
from app.entrypoints.http.problems import KINDS

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem; }}
code {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>Code <code>{code}</code>, HTTP status {status}.</p>
<h2>Meaning</h2>
<p>{meaning}</p>
<h2>What to do</h2>
<p>{remedy}</p>
<p><a href="/docs">API documentation</a></p>
</body>
</html>
"""

_INTRODUCTION = """\
# Problems

Every error of the HTTP interface is `application/problem+json` (RFC 9457). Its `code` identifies the problem for
programs and does not change. Its `type` is the URI of the explanation: `/problems/{code}` of the service, unless
`ALLOCATION_PROBLEM_TYPE_BASE` has another base. `make openapi` writes this page.
"""


def problem_page(code: str) -> str:
    """The page about the problem with the code. Raises KeyError for an unknown code."""
    kind = KINDS[code]
    meaning, remedy = EXPLANATIONS[code]
    return _PAGE.format(
        title=html.escape(kind.title), code=code, status=kind.status, meaning=_marked(meaning), remedy=_marked(remedy)
    )


def problems_markdown() -> str:
    """The text of docs/problems.md: an entry for each problem, by status."""
    entries = (
        f"\n## {kind.code}\n\n{kind.status}: {kind.title}.\n\n{EXPLANATIONS[kind.code].meaning}\n\n"
        f"What to do: {EXPLANATIONS[kind.code].remedy}\n"
        for kind in KINDS.values()
    )
    return _INTRODUCTION + "".join(entries)


def _marked(text: str) -> str:
    """The text as HTML, with `code` elements for backticks."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


if __name__ == "__main__":
    sys.stdout.write(problems_markdown())
