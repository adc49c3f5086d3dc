"""``vegd observe``: the health check, which the kubelet runs every few seconds, and the way to the
rest. Like `vegd.compat.client` it loads next to nothing for a check.
"""

from __future__ import annotations

import _socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PORT = 10666
_DEADLINE_S = 0.9
"""The probe's is one second."""
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main(arguments: Sequence[str]) -> NoReturn:
    """Observe, or check that somebody does: exit status 0 well, 1 not well, 2 bad usage."""
    if "--health-check" in arguments:
        problem = _problem()
        if problem:
            sys.stderr.write(f"the observer is not well: {problem}\n")
        raise SystemExit(bool(problem))
    from bfd.lean import without_openssl  # noqa: PLC0415 - a check stays light

    without_openssl()
    from vegd.cli.complaints import complaining  # noqa: PLC0415
    from vegd.observer.daemon import run  # noqa: PLC0415

    with complaining():
        run(arguments)
    raise SystemExit(0)


def _problem() -> str:
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_DEADLINE_S)
        connection.connect(("127.0.0.1", PORT))
        connection.sendall(_REQUEST)
        answer = connection.recv(64)
    except OSError as exc:
        return f"port {PORT} does not answer ({exc.strerror or exc})"
    finally:
        connection.close()
    return "" if answer.startswith(b"HTTP/1.1 200 ") else f"it answers {answer[:16]!r}"
