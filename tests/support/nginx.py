"""nginx with its module for JavaScript, from Debian's packages, which are not installed."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.embedded.process import free_port, poll_until
from tests.support.downloads import DownloadError, debian_package
from tests.support.waiting import PATIENCE

PROGRAM = Path("usr/sbin/nginx")
MODULE = Path("usr/lib/nginx/modules/ngx_http_js_module.so")
MAIN = """
load_module {module};
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    include conf.d/*.conf;
}}
"""


def _file(package: str, path: Path) -> Path:
    found = debian_package(package) / path
    if not found.exists():
        raise DownloadError(f"the package {package} does not have {path}")
    return found


def prepare(home: Path, example: Path, replaced: Mapping[str, str]) -> list[str | Path]:
    """Write the configuration with a copy of the folder `example`, and return the command. Raises DownloadError.

    In the copies each key of `replaced` is replaced by its value.
    """
    command: list[str | Path] = [_file("nginx", PROGRAM), "-p", home, "-c", "nginx.conf"]
    main = MAIN.format(module=_file("libnginx-mod-http-js", MODULE))
    (home / "nginx.conf").write_text(main, encoding="utf-8")
    (home / "conf.d").mkdir()
    for file in example.iterdir():
        text = file.read_text(encoding="utf-8")
        for old, new in replaced.items():
            text = text.replace(old, new)
        (home / "conf.d" / file.name).write_text(text, encoding="utf-8")
    return command


def check(command: list[str | Path]) -> str:
    """What nginx finds wrong with the configuration; empty if nothing."""
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.stderr if done.returncode else ""


@contextmanager
def running(home: Path, example: Path, replaced: Mapping[str, str]) -> Iterator[str]:
    """Run nginx on a free port in place of port 80. Yields the URL. Raises DownloadError."""
    port = free_port()
    command = prepare(home, example, {**replaced, "listen 80;": f"listen 127.0.0.1:{port};"})
    with (home / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            # nginx writes the file after it has begun to listen.
            poll_until(lambda: (home / "nginx.pid").exists() or process.poll() is not None, seconds=PATIENCE)
            if process.poll() is not None:
                raise RuntimeError(f"nginx did not start: {(home / 'log').read_text(encoding='utf-8')}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE)
