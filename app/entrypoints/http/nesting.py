"""Measures how deeply a JSON body is nested, without recursion."""

import re

MAX_NESTING = 32
# A string is one token, up to the end of the body if it is not closed, so that each byte is scanned once.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def is_nested_deeper_than(limit: int, body: bytes) -> bool:
    """Whether arrays and objects are nested more deeply than `limit`; False if they are not all closed."""
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
