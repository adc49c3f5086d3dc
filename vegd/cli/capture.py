"""``vegd capture``: BFD packets live on an interface or from a file, one line each."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegd.cli.options import AsJson
from vegd.errors import VegdError

if TYPE_CHECKING:
    from vegd.capture.packets import Seen

_Read = Annotated[
    Path | None, typer.Option("--read", "-r", metavar="FILE", help="Read a capture file instead.")
]
_Write = Annotated[
    Path | None,
    typer.Option(
        "--write", "-w", metavar="FILE", help="Also write a pcap file; simple passwords masked."
    ),
]


def capture(
    interface: Annotated[
        str | None, typer.Argument(help="Where to listen; on every interface without it.")
    ] = None,
    peer: Annotated[
        str | None, typer.Option(help="Only packets from or to this address.", metavar="ADDRESS")
    ] = None,
    write: _Write = None,
    read: _Read = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="End after so many packets.")
    ] = None,
    min_ttl: Annotated[
        int,
        typer.Option(
            min=1, max=255, help="Report a lower TTL; 254 when the peer is behind a router."
        ),
    ] = 255,
    as_json: AsJson = False,
) -> None:
    """Show the BFD packets (UDP 3784 and 4784) of an interface, one line each, until Ctrl-C.

    After "!" stands what is wrong: spacing outside 75 to 100 % of the interval, Poll and Final
    together, a low TTL, a source port below 49152, or why every receiver must discard it.
    Timers are in milliseconds, in JSON (one object per line) in microseconds.
    """
    if read is not None and interface is not None:
        raise typer.BadParameter(
            "a file has no interfaces; leave INTERFACE out", param_hint="--read"
        )
    if read is not None and write is not None and write.exists() and read.samefile(write):
        raise typer.BadParameter("this is the file to read; name another", param_hint="--write")
    address = _address(peer)
    try:
        from vegd.capture import frames  # noqa: PLC0415 - scapy is loaded for this command only
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "scapy":
            raise
        raise VegdError(
            "vegd capture needs scapy, which is missing; install the extra 'capture' "
            "(pip install 'vegd[capture]')"
        ) from exc
    with ExitStack() as stack:
        packets: Iterator[tuple[Any, Seen]]
        if read is not None:
            packets = frames.frames_of(read)
        else:
            packets = stack.enter_context(frames.Source(frames.interfaces(interface))).frames()
        writer = None
        if write is not None:
            writer = frames.Writer(write)
            stack.callback(writer.close)
        _show(packets, writer, address, count, min_ttl, as_json=as_json)


def _address(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(ip_address(text))
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is not an IP address", param_hint="--peer") from exc


def _show(
    packets: "Iterator[tuple[Any, Seen]]",
    writer: Any,
    address: str | None,
    count: int | None,
    min_ttl: int,
    *,
    as_json: bool,
) -> None:
    from vegd.capture.judge import Judge  # noqa: PLC0415 - --help stays quick
    from vegd.capture.packets import to_json, to_line  # noqa: PLC0415

    judge = Judge(min_ttl)
    shown = odd = 0
    try:
        for frame, seen in packets:
            if address is not None and address not in {seen.source, seen.destination}:
                continue
            anomalies = judge.judge(seen)
            print(  # noqa: T201 - flushed line by line, also into a pipe
                json.dumps(to_json(seen, anomalies)) if as_json else to_line(seen, anomalies),
                flush=True,
            )
            if writer is not None:
                writer.write(frame, seen)
            shown += 1
            odd += bool(anomalies)
            if shown == count:
                break
    except KeyboardInterrupt:
        pass  # Ctrl-C is how one leaves
    typer.echo(f"{shown} packets, {odd} with something wrong", err=True)
