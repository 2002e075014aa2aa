"""Clients generated from the OpenAPI document in four languages compile, and run the README's session.

Each language has a program in a folder beside this file, which takes the service's URL and a SKU and prints what it
receives. The clients that it uses are generated here, and the compilers are strict.
"""

import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import Served
from tests.support.downloads import jars, node_modules, program, run

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
SECONDS = 300.0

STORY = """\
allocated true
moved true
reason out_of_stock
explained true
code out-of-stock
cancelled true
"""


STABLE = "useJakartaEe=true,useSingleRequestParameter=true"
"""Methods take one object in place of a list of parameters, so a new optional parameter breaks no caller."""


def openapi_generator(generator: str, document: Path, target: Path, *options: str) -> None:
    """Generate a client with openapi-generator."""
    classpath = f"{jars(HERE / 'pom.xml')}/*"
    parts = "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
    command: list[str | Path] = [program("java"), "-cp", classpath, "org.openapitools.codegen.OpenAPIGenerator"]
    command += ["generate", "--generator-name", generator, "--input-spec", document, "--output", target]
    run([*command, "--global-property", parts, *options], seconds=SECONDS)


def java(served: Served, folder: Path) -> list[str | Path]:
    """Java, with the client that is built into it: java.net.http."""
    packages = "invokerPackage=allocation.client,apiPackage=allocation.api,modelPackage=allocation.model"
    # A method `wait` would override that of Object.
    names = "--parameter-name-mappings=wait=waitSeconds"
    options = ("--library", "native", f"--additional-properties={packages},{STABLE}", names)
    openapi_generator("java", served.document, folder, *options)
    sources = sorted((folder / "src" / "main" / "java").rglob("*.java"))
    classpath = f"{jars(HERE / 'java' / 'pom.xml')}/*:{folder}"
    compiler: list[str | Path] = [program("javac"), "-nowarn", "-d", folder, "-cp", classpath]
    run([*compiler, *sources, HERE / "java" / "Story.java"], seconds=SECONDS)
    return [program("java"), "-cp", classpath, "Story"]


def go(served: Served, folder: Path) -> list[str | Path]:
    """Go, with a client that needs nothing but the standard library."""
    options = ("--package-name", "allocation", "--additional-properties=withGoMod=false")
    openapi_generator("go", served.document, folder / "allocation", *options)
    for name in ("go.mod", "main.go"):
        shutil.copy(HERE / "go" / name, folder)
    run([program("go"), "build", "-o", "story", "."], folder, seconds=SECONDS)
    return [folder / "story"]


def typescript(served: Served, folder: Path) -> list[str | Path]:
    """TypeScript, compiled with every strict option."""
    (folder / "node_modules").symlink_to(node_modules(HERE / "typescript"))
    for name in ("package.json", "tsconfig.json", "story.ts"):
        shutil.copy(HERE / "typescript" / name, folder)
    tools = folder / "node_modules" / ".bin"
    run([tools / "openapi-typescript", served.document, "--output", "allocation.d.ts"], folder, seconds=SECONDS)
    run([tools / "tsc"], folder, seconds=SECONDS)
    return [program("node"), folder / "story.js"]


def python(served: Served, folder: Path) -> list[str | Path]:
    """Python, checked by mypy."""
    generator: list[str | Path] = [
        Path(sys.prefix) / "bin" / "openapi-python-client",
        "generate",
        "--path",
        served.document,
    ]
    run([*generator, "--meta", "none", "--output-path", folder / "allocation_client"], seconds=SECONDS)
    shutil.copy(HERE / "python" / "story.py", folder)
    check = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir=cache", "story.py"]
    run(check, folder, seconds=SECONDS)
    return [sys.executable, folder / "story.py"]


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("build", "tools"),
    [(java, "java"), (go, "go"), (typescript, "typescript"), (python, "python")],
    indirect=["tools"],
    ids=["java", "go", "typescript", "python"],
)
def test_a_generated_client_compiles_and_plays_the_story(
    served: Served, tmp_path: Path, build: Callable[[Served, Path], list[str | Path]]
) -> None:
    command = build(served, tmp_path)
    assert run([*command, served.url, f"sku-{uuid.uuid4().hex}"], tmp_path, seconds=60) == STORY
