"""``vegd support-bundle``: what somebody far away needs to help, in one archive."""

import contextlib
import io
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from vegd import __version__
from vegd.cli.in_force import in_force
from vegd.cli.options import RUNTIME_DIR, Config, RuntimeDir
from vegd.errors import VegdError

_LONGEST_S = 60
_FAMILIES = ("-4", "-6")
_PROGRAMS = {
    "nft-table.txt": ("nft", "list", "table", "inet", "vegd"),
    "nft-ruleset.txt": ("nft", "-t", "list", "ruleset"),
    "ip-address.txt": ("ip", "-details", "-statistics", "address"),
    **{f"ip{each}-route.txt": ("ip", each, "route", "show", "table", "all") for each in _FAMILIES},
    **{f"ip{each}-rule.txt": ("ip", each, "rule") for each in _FAMILIES},
    **{f"ip{each}-neighbour.txt": ("ip", each, "neighbour") for each in _FAMILIES},
    "tc.txt": ("tc", "-statistics", "qdisc"),
}
_TRACKING = ("count", "max", "buckets", "acct")
_PROC = (
    *(
        f"/proc/sys/net/netfilter/nf_conntrack_{name}"
        for name in ("count", "max", "buckets", "acct")
    ),
    "/proc/net/stat/nf_conntrack",
    "/proc/net/softnet_stat",
    "/proc/net/snmp",
    "/proc/net/snmp6",
    "/proc/meminfo",
    "/proc/loadavg",
)


def support_bundle(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = None,
    config: Config = None,
    runtime_dir: RuntimeDir = RUNTIME_DIR,
) -> None:
    """Pack status, sessions, plan, doctor's findings, configuration, rules, addresses and routes.

    Nothing of the runtime directory is in it (journal, sockets), no key file and no key; external
    and internal addresses are. What cannot be had is packed as the error that it gave.

    Exit status: 0 written, 1 it could not be.
    """
    from vegd.support import archive, safe_configuration  # noqa: PLC0415 - --help stays quick

    name = f"vegd-support-{platform.node()}-{time.strftime('%Y%m%dT%H%M%S')}"
    path = Path(f"{name}.tar.gz") if output is None else output
    about = in_force(config, runtime_dir)
    with opened(path) as file:
        try:
            text, secrets = safe_configuration(about.read_bytes())
        except OSError as exc:
            text, secrets = f"# cannot be read: {exc.strerror}\n", frozenset()
        files = {
            **{each: _ours(*command) for each, command in _of_vegd(about, runtime_dir)},
            **{each: _said(*command) for each, command in _PROGRAMS.items()},
            "configuration.yaml": text.encode(),
            "proc.txt": _proc(),
            "versions.txt": _versions(),
        }
        file.write(archive(name, dict(sorted(files.items())), secrets))
    typer.echo(f"{path}: {len(files)} files; read them before you hand them on")


def _of_vegd(config: Path, runtime_dir: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    ours = ("--runtime-dir", str(runtime_dir))
    yield "status.json", ("status", "--json", *ours)
    yield "sessions.json", ("sessions", "--json", *ours)
    yield "why.txt", ("why", *ours)
    yield "history.txt", ("sessions", *ours, "history")
    for name in ("plan", "doctor", "policies", "ports"):
        yield f"{name}.txt", (name, "--config", str(config))


def _ours(*arguments: str) -> bytes:
    """What a command of ours prints. Here and not in a process for each: they take as long to
    start as all else together."""
    from vegd.cli.app import app  # noqa: PLC0415 - it imports this module

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = app([*arguments], prog_name="vegd", standalone_mode=False)
        except Exception as exc:  # whatever fails belongs into the bundle
            said.write(f"{exc}\n")
            status = getattr(exc, "exit_status", 1)
    return (said.getvalue() + (f"exit status {status}\n" if status else "")).encode()


def _said(*command: str) -> bytes:
    """What a command prints, complaints and exit status included."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{' '.join(command)}: {exc}\n".encode()
    ended = f"exit status {done.returncode}\n".encode() if done.returncode else b""
    return done.stdout + done.stderr + ended


def _proc() -> bytes:
    found = []
    for name in _PROC:
        try:
            found.append(f"{name}\n{Path(name).read_text('ascii')}\n")
        except OSError as exc:
            found.append(f"{name}\n{exc.strerror}\n")
    return "\n".join(found).encode()


def _versions() -> bytes:
    lines = [f"vegd {__version__}", f"python {sys.version}", " ".join(platform.uname())]
    programs = _said("nft", "--version") + _said("ip", "-V")
    return "\n".join([*lines, ""]).encode() + programs


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The new file; it is removed again if it could not be filled."""
    try:
        # Nobody else may read it, and nothing that is there is written over.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise VegdError(f"{path}: cannot be written: {exc.strerror}; name another by -o") from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException as exc:
        path.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise VegdError(f"{path}: cannot be written: {exc.strerror}") from exc
        raise
