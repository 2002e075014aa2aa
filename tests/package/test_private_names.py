"""The private names of libraries that the code uses: all in one list, all there, and no start without them."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import app
from app import private_names
from app.private_names import PRIVATE_NAMES

SOURCES = sorted(Path(app.__file__).parent.rglob("*.py"))
LISTED = {private.name for private in PRIVATE_NAMES}
# Only for annotations: without it nothing changes when the code runs.
FOR_TYPES = {"click._termui_impl"}
# Documented, in spite of their names.
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}
# Their metaclasses give every subclass private names of its own; nothing is overridden by that.
MACHINERY = {"abc", "app", "builtins", "enum", "pydantic", "typing"}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _defined(tree: ast.AST) -> Iterator[str]:
    """The private names that the code gives to something of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


def _used(tree: ast.AST) -> Iterator[str]:
    """The private names that the code takes from something, by a dot, by `getattr` or by an import."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                yield name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name
            case ast.ImportFrom(names=names, module=str(module)):
                yield from (module for part in module.split(".") if _is_private(part))
                yield from (alias.name for alias in names)
            case _:
                pass


def test_every_private_name_that_the_code_takes_is_in_the_list() -> None:
    trees = [ast.parse(source.read_text()) for source in SOURCES]
    defined = {name for tree in trees for name in _defined(tree)}
    used = {name for tree in trees for name in _used(tree) if _is_private(name.rpartition(".")[2])}
    used |= {name for tree in trees for name in _used(tree) if "._" in name}
    assert used - defined - LISTED - FOR_TYPES - NAMED_TUPLE == set()


def test_every_private_name_of_a_library_that_the_code_overrides_is_in_the_list() -> None:
    overridden = set()
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name == "app.__main__":
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if not isinstance(kind, type) or kind.__module__ != module.name:
                continue
            foreign = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in MACHINERY]
            theirs = {name for base in foreign for name in vars(base)}
            methods = {name for name, value in vars(kind).items() if isinstance(value, FunctionType)}
            overridden |= {name for name in methods & theirs if _is_private(name)}
    assert {"_start_asgi_task", "_read_msg", "_put"} <= overridden
    assert overridden - LISTED == set()


@pytest.mark.parametrize("private", PRIVATE_NAMES, ids=lambda private: f"{private.owner}.{private.name}")
def test_the_installed_version_has_it(private: private_names.PrivateName) -> None:
    assert private.exists()
