"""How deep a body is nested, without descending into it."""

import re

MAX_NESTING = 32
# Strings are taken whole, to the end of the body where one is not closed: each byte is looked at once.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def is_nested_deeper_than(limit: int, body: bytes) -> bool:
    """Whether arrays and objects lie deeper in each other than that; False where they are not all closed."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    depth = deepest = 0
    for found in _TOKENS.finditer(body):
        token = found[0]
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return depth == 0 and deepest > limit
