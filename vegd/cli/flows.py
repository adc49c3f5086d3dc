"""``vegd flows``: the tracked connections that the gateway forwards, and who shows as what."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegd.cli.in_force import in_force
from vegd.cli.looking import open_gateway
from vegd.cli.options import RUNTIME_DIR, AsJson, Config, RuntimeDir, show, table
from vegd.words import endpoint

if TYPE_CHECKING:
    from vegd.flows import Filter, Row
    from vegd.texts import Address, Network


def flows(  # noqa: PLR0913, PLR0917 - each is an option
    source: Annotated[
        str | None, typer.Option(metavar="CIDR", help="Only those begun by these addresses.")
    ] = None,
    destination: Annotated[
        str | None, typer.Option(metavar="CIDR", help="Only those to these addresses.")
    ] = None,
    external: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only those shown with this address.")
    ] = None,
    external_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Only those shown with this port.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Only tcp, udp, icmp, icmpv6, sctp, ... or a number.")
    ] = None,
    by_source: Annotated[
        bool, typer.Option("--by-source", help="One line for each source, with sums.")
    ] = False,
    top: Annotated[int | None, typer.Option(min=1, help="The first N of the list only.")] = None,
    config: Config = None,
    as_json: AsJson = False,
    runtime_dir: RuntimeDir = RUNTIME_DIR,
) -> None:
    """Show who uses which external address and port, the most bytes first.

    Exit status: 0 well, 2 bad usage or configuration, 3 the kernel could not be looked at.
    """
    from vegd.flows import Filter, summed  # noqa: PLC0415 - --help stays quick

    wanted = Filter(
        source=_network("--source", source),
        destination=_network("--destination", destination),
        external=_address("--external", external),
        external_port=external_port,
        protocol=None if protocol is None else _protocol(protocol),
    )
    found = asyncio.run(_rows(in_force(config, runtime_dir), wanted))
    if by_source:
        found = summed(found)
    found.sort(key=lambda each: (-each["bytes_out"] - each["bytes_in"], -each["connections"]))
    count, found = len(found), found[:top]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif found:
        show(_by_source(found) if by_source else _by_flow(found))
        if count > len(found):
            typer.echo(f"and {count - len(found)} more")
    else:
        typer.echo("no such flow")


def _network(option: str, text: str | None) -> "Network | None":
    from vegd.document import Refusal  # noqa: PLC0415 - --help stays quick
    from vegd.texts import read_network  # noqa: PLC0415

    network = None if text is None else read_network(text)
    if isinstance(network, Refusal):
        raise typer.BadParameter(f"{text!r} {network.problem}; {network.remedy}", param_hint=option)
    return network


def _address(option: str, text: str | None) -> "Address | None":
    from vegd.document import Refusal  # noqa: PLC0415 - --help stays quick
    from vegd.texts import read_address  # noqa: PLC0415

    address = None if text is None else read_address(text)
    if isinstance(address, Refusal):
        raise typer.BadParameter(f"{text!r} {address.problem}; {address.remedy}", param_hint=option)
    return address


def _protocol(text: str) -> int:
    from vegd.flows import PROTOCOLS  # noqa: PLC0415 - --help stays quick

    number = PROTOCOLS.get(text.lower())
    if number is None and text.isascii() and text.isdecimal() and int(text[:4]) <= 255:
        number = int(text)
    if number is None:
        known = ", ".join(PROTOCOLS)
        raise typer.BadParameter(
            f"{text!r} is no protocol; give one of {known}, or a number up to 255",
            param_hint="--protocol",
        )
    return number


async def _rows(config: Path, is_wanted: "Filter") -> "list[Row]":
    from dataplane.stale import Judge  # noqa: PLC0415 - --help stays quick
    from vegd.flows import rows  # noqa: PLC0415

    async with open_gateway(config) as (kernel, intent):
        judge = Judge(intent, intent.sources(), ())
        found = await kernel.flows(is_wanted)
    return rows(judge, found)


def _by_flow(found: "list[Row]") -> object:
    made = table("PROTOCOL", "SOURCE", "EXTERNAL", "DESTINATION", "POLICY", "BYTES OUT", "BYTES IN")
    for each in found:
        external = each["external"]
        made.add_row(
            each["protocol"],
            endpoint(each["source"], each["source_port"]),
            "as it is" if external is None else endpoint(external, each["external_port"]),
            endpoint(each["destination"], each["destination_port"]),
            each["policy"] or "-",
            str(each["bytes_out"]),
            str(each["bytes_in"]),
        )
    return made


def _by_source(found: "list[Row]") -> object:
    made = table("SOURCE", "EXTERNAL", "PROTOCOL", "POLICY", "CONNECTIONS", "BYTES OUT", "BYTES IN")
    for each in found:
        made.add_row(
            each["source"],
            each["external"] or "as it is",
            each["protocol"],
            each["policy"] or "-",
            *(str(each[name]) for name in ("connections", "bytes_out", "bytes_in")),
        )
    return made
