"""What tests need from elsewhere, fetched once by its own client into a cache outside the repository.

Several processes may fetch at once: each fills a folder of its own, and the first one to be ready names it.
"""

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.cache import cache_folder

FETCH_SECONDS = 600.0


class DownloadError(RuntimeError):
    """A program is missing, or it failed; the message says which."""


def jars(pom: Path) -> Path:
    """Return the folder with the dependencies of a Maven project. Raises DownloadError."""

    def fill(folder: Path) -> None:
        run(
            [program("mvn"), "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={folder}"],
            seconds=FETCH_SECONDS,
        )

    return _once("jars", _content([pom]), fill)


def node_modules(project: Path) -> Path:
    """Return the `node_modules` of a folder with package.json and package-lock.json. Raises DownloadError."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(project / name, folder)
        run([program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, seconds=FETCH_SECONDS)

    return _once("npm", _content([project / "package-lock.json"]), fill) / "node_modules"


def go_program(module: Path) -> Path:
    """Return the program of a folder with a Go module, built with the dependencies of go.sum. Raises DownloadError."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        # The module's own folder is not written to.
        run(
            [program("go"), "build", "-mod=readonly", "-trimpath", "-o", folder / "program", "."],
            module,
            seconds=FETCH_SECONDS,
        )

    sources = sorted(path for path in module.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    return _once("go", _content(sources), fill) / "program"


def source(repository: Path, commit: str) -> Path:
    """Return a folder with the files of a commit. Raises DownloadError if the repository has no such commit."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        archive = folder.with_suffix(".tar")
        run([program("git"), "archive", f"--output={archive}", commit], repository, seconds=FETCH_SECONDS)
        run([program("tar"), "-xf", archive, "-C", folder], seconds=FETCH_SECONDS)

    return _once("source", commit.encode(), fill)


def c_library(source: Path) -> Path:
    """Return the shared library of a C file. Raises DownloadError, also where there is no compiler."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        run([program("cc"), "-O2", "-shared", "-fPIC", "-o", folder / "library.so", source], seconds=FETCH_SECONDS)

    return _once("cc", _content([source]), fill) / "library.so"


def debian_package(name: str) -> Path:
    """Return a folder with the files of a Debian package, which is not installed. Raises DownloadError."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        run([program("apt-get"), "download", name], folder, seconds=FETCH_SECONDS)
        for archive in folder.glob("*.deb"):
            run([program("dpkg-deb"), "--extract", archive, folder], seconds=FETCH_SECONDS)
            archive.unlink()

    return _once("debian", name.encode(), fill)


def fetched_debian_package(name: str) -> Path:
    """The folder that `debian_package` returns. It exists if the package has been fetched."""
    return _folder("debian", name.encode())


def program(name: str) -> str:
    """Return the path of a program. Raises DownloadError."""
    path = shutil.which(name)
    if path is None:
        raise DownloadError(f"`{name}` is not installed")
    return path


def run(command: Sequence[str | Path], folder: Path | None = None, *, seconds: float) -> str:
    """Run a command to its end and return its output. Raises DownloadError, with the output, where it fails."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"{name} did not end within {seconds:g} seconds") from error
    if done.returncode != 0:
        raise DownloadError(f"{name} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _content(descriptions: Sequence[Path]) -> bytes:
    return b"".join(path.read_bytes() for path in descriptions)


def _folder(kind: str, description: bytes) -> Path:
    return cache_folder() / f"{kind}-{hashlib.sha256(description).hexdigest()[:16]}"


def _once(kind: str, description: bytes, fill: Callable[[Path], None]) -> Path:
    """The folder for this description; another one, and so another version, has a folder of its own."""
    target = _folder(kind, description)
    if target.is_dir():
        return target
    cache = target.parent
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f"{target.name}-", ignore_cleanup_errors=True) as draft:
        filled = Path(draft) / "filled"
        fill(filled)
        # Another process may have been faster; what it has fetched is the same.
        with contextlib.suppress(OSError):
            filled.rename(target)
    if not target.is_dir():
        raise DownloadError(f"the packages could not be put into {target}")
    return target
