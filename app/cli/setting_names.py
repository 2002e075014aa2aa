"""Finds variables with the prefix of the settings that are not settings, usually misspelt names."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "ALLOCATION_"


def known_names() -> set[str]:
    """The names of all settings."""
    from app.settings import Settings

    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def given_names() -> set[str]:
    """The names with the prefix in the environment and in `.env`."""
    from dotenv import dotenv_values

    return {name.upper() for name in (*os.environ, *dotenv_values(".env")) if name.upper().startswith(PREFIX)}


def unknown_names() -> Iterator[tuple[str, str]]:
    """Each given name that is not a setting, with advice."""
    known = known_names()
    for name in sorted(given_names() - known):
        near = difflib.get_close_matches(name, known, n=1)
        yield name, f"did you mean {near[0]}?" if near else "remove it; .env.example lists all settings"
