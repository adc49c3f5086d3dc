"""The commands that ask the running daemon, `vegd.compat.daemon`.

Probes run them every few seconds under a CPU limit of 0.3 processors or less, so nothing is loaded
that is not needed: `_socket` is the part of `socket` that Python has built in; what is above it, or
`typing`, would double the time of the whole command.
"""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

SUPERVISOR_SOCKET = "/var/run/kube-ovn/bfdd-supervisor/control.sock"
_DEADLINE_S = 5.0
_USAGE = "usage: kube-ovn-bfdd-supervisor <run|live|ready|status>"


def supervisor_socket(environ: Mapping[str, str]) -> str:
    """Where ``live``, ``ready`` and ``status`` are answered."""
    return environ.get("BFDD_SUPERVISOR_SOCKET") or SUPERVISOR_SOCKET


def control_socket(environ: Mapping[str, str]) -> str:
    """Where the lines of ``bfdd-control`` are answered."""
    return (environ.get("VEGD_RUNTIME_DIR") or "/run/vegd") + "/bfdd.sock"


def supervisor() -> NoReturn:
    """``kube-ovn-bfdd-supervisor``: exit status 0 well, 1 not well."""
    match sys.argv[1:]:
        case ["run"]:
            _prepare()
            from vegd.compat.daemon import supervise  # noqa: PLC0415 - probes stay light

            supervise()
        case ["live" | "ready" | "status" as request]:
            raise SystemExit(_probe(request))
    _end(_USAGE)


def beacon() -> NoReturn:
    """``bfdd-beacon``."""
    _prepare()
    from vegd.compat import daemon  # noqa: PLC0415 - probes stay light

    daemon.beacon()


def bfdd_control() -> NoReturn:
    """``bfdd-control``: exit status 0 done, 1 refused or no daemon."""
    path = control_socket(os.environ)
    try:
        answer = _ask(path, " ".join(sys.argv[1:]))
    except OSError as exc:
        _ask_engine(path, exc)
    verdict, _, text = answer.partition("\n")
    sys.stdout.write(text)
    raise SystemExit(verdict != "ok")


def _ask_engine(path: str, refusal: OSError) -> NoReturn:
    from pathlib import Path  # noqa: PLC0415 - probes stay light

    from vegd.compat.engine import answer  # noqa: PLC0415
    from vegd.compat.openbfdd import is_failure  # noqa: PLC0415

    try:
        text = answer(sys.argv[1:], Path(path).parent)
    except OSError:
        _end(f"Unable to complete request: no daemon answers ({refusal.strerror or refusal})")
    sys.stdout.write(text + "\n")
    raise SystemExit(is_failure(text))


def _prepare() -> None:
    """For a process that stays. The first process of a container does not hear SIGTERM unless it
    asks to, and loading takes time."""
    import signal  # noqa: PLC0415 - probes stay light

    from bfd.lean import without_openssl  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    without_openssl()


def _probe(request: str) -> int:
    try:
        answer = _ask(supervisor_socket(os.environ), request)
    except OSError as exc:
        _end(f"the BFD supervisor does not answer: {exc.strerror or exc}")
    # The name of a member cannot stand in a string, whose quotation marks are escaped.
    failed = '"error":' in answer
    if failed or request == "status":
        import json  # noqa: PLC0415 - not for a probe that is well

        document = json.loads(answer)
        if failed:
            _end(document["error"])
        sys.stdout.write(json.dumps(document["status"], separators=(",", ":")) + "\n")
    return 0


def _ask(path: str, request: str) -> str:
    """The answer to a line. Raises OSError, also when there is none within 5 s."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_DEADLINE_S)
        connection.connect(path)
        connection.sendall(" ".join(request.split()).encode(errors="replace") + b"\n")
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    finally:
        connection.close()
    answer = b"".join(parts).decode()
    if not answer.endswith("\n"):
        raise ConnectionResetError("the answer ends in the middle")
    return answer


def _end(text: str) -> NoReturn:
    sys.stderr.write(text + "\n")
    raise SystemExit(1)
