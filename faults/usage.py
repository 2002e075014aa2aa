"""What a process of the service uses, read from outside: memory, open files, connections to a port."""

import re
from dataclasses import dataclass
from pathlib import Path

KILOBYTE = 1024
ESTABLISHED = "01"


@dataclass(frozen=True)
class Usage:
    """The use of one process: resident memory, open files, and connections to PostgreSQL."""

    megabytes: float
    files: int
    connections: int = 0

    @classmethod
    def of(cls, pid: int | None, port: int = 0) -> "Usage":
        """The present values; `port` is that of PostgreSQL. Raises OSError if the process has ended."""
        process = Path(f"/proc/{pid}")
        (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        files = [_target(link) for link in (process / "fd").iterdir()]
        return cls(int(kilobytes) / KILOBYTE, len(files), len(_sockets_to(port).intersection(files)))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        # It was closed meanwhile.
        return ""


def _sockets_to(port: int) -> set[str]:
    """The sockets of this machine that are connected to the port, as links in /proc name them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        f"socket:[{row[9]}]" for row in rows if row[3] == ESTABLISHED and int(row[2].rpartition(":")[2], 16) == port
    }
