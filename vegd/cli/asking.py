"""Questions to the running daemon, over its control socket."""

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from vegd.errors import Unreachable, VegdError

_ANSWER_S = 10.0


class _Connection(HTTPConnection):
    """By a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("vegd", timeout=_ANSWER_S)
        self._path = str(path)

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(self._path)


def ask(runtime_dir: Path, method: str, page: str) -> bytes:
    """What the daemon answers. Raises Unreachable, or VegdError with the daemon's own complaint."""
    path = runtime_dir / "agent.sock"
    connection = _Connection(path)
    try:
        connection.request(method, page)
        answer = connection.getresponse()
        body = answer.read()
    except (HTTPException, OSError) as exc:
        raise Unreachable(
            f"no daemon answers at {path} ({exc}); is vegd running, "
            "and is --runtime-dir the one it was started with?"
        ) from exc
    finally:
        connection.close()
    if answer.status >= 400:
        raise VegdError(f"the daemon says: {body.decode(errors='replace').strip()}")
    return body
