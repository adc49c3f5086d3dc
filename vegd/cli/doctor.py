"""``vegd doctor``: whether this machine can be the gateway, and what to do where it cannot."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vegd.cli.in_force import in_force
from vegd.cli.options import RUNTIME_DIR, AsJson, Config, RuntimeDir

if TYPE_CHECKING:
    from dataplane.kernel import Kernel
    from dataplane.model import GatewayIntent, IPAddress, Side
    from vegd.doctor import Finding
    from vegd.spec import GatewaySpec

_ANSWER_S = 3.0
_LOOK_S = 0.1
_DISCARD_PORT = 9
_PROC = Path("/proc")
_PROC_SYS = _PROC / "sys"
_NFT_REMEDY = (
    "load the modules nf_tables, nft_chain_nat, nft_masq, nft_ct, nft_fib_inet and nft_hash, or "
    "use a kernel that has them (5.4 or newer)"
)


def doctor(
    config: Config = None, as_json: AsJson = False, runtime_dir: RuntimeDir = RUNTIME_DIR
) -> None:
    """Look at this machine for everything that the gateway needs; each finding has a remedy.

    Nothing is changed; the gateways are asked for their MAC addresses by a datagram to port 9.

    Exit status: 0 nothing stands in the way (warnings do not count), 1 there is a problem, 2 bad
    configuration.
    """
    from vegd.doctor import PROBLEM  # noqa: PLC0415 - --help stays quick
    from vegd.spec import load  # noqa: PLC0415

    spec = load(in_force(config, runtime_dir))
    found = asyncio.run(_examine(spec, runtime_dir / "bfd.sock"))
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in found], indent=2))
    else:
        typer.echo("\n".join(map(str, found)))
    raise typer.Exit(1 if any(each.level == PROBLEM for each in found) else 0)


async def _examine(spec: "GatewaySpec", engine_socket: Path) -> "list[Finding]":
    from dataplane.errors import DataplaneError  # noqa: PLC0415 - --help stays quick
    from dataplane.linux import LinuxKernel  # noqa: PLC0415
    from vegd import doctor as judge  # noqa: PLC0415

    engine = await _engine(engine_socket)
    found = [*judge.capabilities(_capabilities(engine or "self"), engine)]
    try:
        kernel = await LinuxKernel.open()
    except DataplaneError as exc:
        # The error carries its own remedy.
        what, _, remedy = str(exc).partition("; ")
        return [*found, judge.Finding(judge.PROBLEM, "kernel", what, remedy)]
    try:
        found += [each async for each in _of_kernel(kernel, spec)]
    except DataplaneError as exc:
        remedy = "see dmesg, and whether the kernel has what 'nftables' and 'ip' need"
        found.append(judge.Finding(judge.PROBLEM, "kernel", str(exc), remedy))
    finally:
        await kernel.aclose()
    return found


async def _of_kernel(kernel: "Kernel", spec: "GatewaySpec") -> "AsyncIterator[Finding]":
    from vegd import doctor as judge  # noqa: PLC0415 - --help stays quick
    from vegd.compile import Waiting, compile  # noqa: A004, PLC0415
    from vegd.facts import NodeFacts  # noqa: PLC0415

    for each in _of_others():
        yield each
    interfaces = await kernel.interfaces()
    compiled = compile(spec, NodeFacts(interfaces, await kernel.tracking()))
    if isinstance(compiled, Waiting):
        for reason in compiled.reasons:
            remedy = "have it made by whoever makes it (CNI, systemd-networkd), or correct the file"
            yield judge.Finding(judge.PROBLEM, "configuration", reason, remedy)
        return
    for note in compiled.notes:
        remedy = "complete the configuration or the interface, if that is not meant so"
        yield judge.Finding(judge.WARNING, "configuration", note, remedy)
    intent = compiled.dataplane
    for each in judge.mtus(intent, interfaces):
        yield each
    async for each in _of_intent(kernel, intent):
        yield each
    for side in (intent.internal, intent.external):
        if side.interface in interfaces and interfaces[side.interface].up:
            for gateway in side.gateways:
                yield judge.neighbour(side, gateway, await _neighbour_state(side, gateway))


async def _of_intent(kernel: "Kernel", intent: "GatewayIntent") -> "AsyncIterator[Finding]":
    from dataplane.errors import DataplaneError  # noqa: PLC0415 - --help stays quick
    from dataplane.render import render  # noqa: PLC0415
    from dataplane.sysctls import read_sysctl  # noqa: PLC0415
    from vegd import doctor as judge  # noqa: PLC0415

    desired = render(intent)
    assert desired.nft is not None  # noqa: S101 - a gateway has a table
    try:
        await kernel.rehearse(desired.nft)
    except DataplaneError as exc:
        yield judge.Finding(judge.PROBLEM, "nftables", f"the kernel refuses {exc}", _NFT_REMEDY)
    else:
        yield judge.Finding(judge.FINE, "nftables", "the kernel accepts the rules")
    values = {each.path: read_sysctl(each.path) for each in desired.sysctls}
    writable = [path for path in values if os.access(_PROC_SYS / path, os.W_OK)]
    for each in judge.parameters(desired.sysctls, values, writable):
        yield each


def _of_others() -> "Iterator[Finding]":
    """What other programs have put beside ours."""
    from vegd import doctor as judge  # noqa: PLC0415 - --help stays quick

    for command, check in (
        (("nft", "-j", "-t", "list", "ruleset"), lambda said: judge.clashes(said["nftables"])),
        (("ip", "-json", "-4", "rule"), judge.rules),
        (("ip", "-json", "-6", "rule"), judge.rules),
    ):
        said = _said(*command)
        if said is None:
            remedy = "install the packages nftables and iproute2"
            text = f"'{' '.join(command)}' fails, so other programs' rules were not looked at"
            yield judge.Finding(judge.WARNING, "programs", text, remedy)
        else:
            yield from check(said)


def _said(*command: str) -> Any:
    """What a program prints as JSON; None if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return json.loads(done.stdout or "[]")


async def _neighbour_state(side: "Side", gateway: "IPAddress") -> str | None:
    """The state of the neighbour entry, once the kernel has asked for the address."""
    family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    loop = asyncio.get_running_loop()
    until, state = loop.time() + _ANSWER_S, None
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, side.interface.encode())
            channel.sendto(b"", (str(gateway), _DISCARD_PORT))
    except OSError:
        # No way there, then nobody was asked; an entry may be there all the same.
        until = loop.time()
    while True:
        listed = _said("ip", "-json", "neighbour", "show", str(gateway), "dev", side.interface)
        state = next((each["state"][0] for each in listed or () if each.get("state")), None)
        is_known = state not in (None, "INCOMPLETE", "NONE")
        if is_known or loop.time() >= until:
            return state
        await asyncio.sleep(_LOOK_S)


async def _engine(path: Path) -> int | None:
    """The process of the engine that runs, if it can be seen from here."""
    from bfd.client import Client, ControlError  # noqa: PLC0415 - --help stays quick

    try:
        async with asyncio.timeout(_ANSWER_S), Client(path) as engine:
            is_here = (_PROC / str(engine.pid)).is_dir()
            return engine.pid if is_here else None
    except (OSError, ControlError):
        return None


def _capabilities(process: int | str) -> int:
    lines = (_PROC / str(process) / "status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
