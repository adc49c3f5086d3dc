"""``vegd check``: every fault of a configuration, without touching anything."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegd.cli.options import AsJson

if TYPE_CHECKING:
    from vegd.spec import Fault, GatewaySpec

_STANDARD_INPUT = Path("-")
_Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Configurations; - is standard input.")
]


def check(files: _Files, as_json: AsJson = False) -> None:
    """Check configurations and name every fault: where, what and how to mend it.

    With --json one object per file, one a line. Exit status: 0 all are valid (warnings do not
    count), 2 one has a fault.
    """
    is_valid = True
    for file in files:
        spec, faults = _read(file)
        is_valid = is_valid and spec is not None
        if as_json:
            typer.echo(json.dumps(_document(file, spec, faults)))
        else:
            _print(file, spec, faults)
    raise typer.Exit(0 if is_valid else 2)


def _read(file: Path) -> "tuple[GatewaySpec | None, tuple[Fault, ...]]":
    from vegd.spec import parse_bytes, read_bytes, read_stream  # noqa: PLC0415 - --help stays quick

    is_stdin = file == _STANDARD_INPUT
    data, faults = read_stream(sys.stdin.buffer) if is_stdin else read_bytes(file)
    return (None, faults) if data is None else parse_bytes(data)


def _print(file: Path, spec: "GatewaySpec | None", faults: "tuple[Fault, ...]") -> None:
    for fault in faults:
        typer.echo(f"{file}: {fault}", err=True)
    if spec is None:
        return
    for warning in _warnings(spec):
        typer.echo(f"{file}: warning: {warning}", err=True)
    typer.echo(f"{file}: valid ({_summary(spec)})")


def _document(
    file: Path, spec: "GatewaySpec | None", faults: "tuple[Fault, ...]"
) -> dict[str, object]:
    return {
        "file": str(file),
        "valid": spec is not None,
        "summary": _summary(spec) if spec else None,
        "faults": [fault.to_json() for fault in faults],
        "warnings": [warning.to_json() for warning in _warnings(spec)] if spec else [],
    }


def _warnings(spec: "GatewaySpec") -> "tuple[Fault, ...]":
    from vegd.auth_checks import file_warnings  # noqa: PLC0415 - as above

    # The configuration may be meant for another machine, so its files are no faults.
    return (*spec.warnings(), *file_warnings(spec))


def _summary(spec: "GatewaySpec") -> str:
    versions = {block.version for policy in spec.policies for block in policy.ip_blocks}
    families = " and ".join(f"IPv{version}" for version in sorted(versions)) or "nothing"
    sources = sum(len(policy.ip_blocks) for policy in spec.policies)
    peers = len(spec.bfd.peers) if spec.bfd else 0
    return (
        f"{spec.name}: {families} from {spec.internal.interface} to {spec.external.interface}, "
        f"{_count(len(spec.policies), 'policy', 'policies')}, "
        f"{_count(sources, 'source', 'sources')}, {_count(peers, 'BFD peer', 'BFD peers')}"
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
