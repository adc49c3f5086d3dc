"""The real daemon in a namespace between a router and the outside, and its command line."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bfd.client import Client, ControlError
from dataplane.diff import diff
from dataplane.kernel import Kernel
from dataplane.render import render
from tests.support.dataplane import with_kernel
from tests.support.netns import inside, ip, ip_json, run, veth
from vegd.compile import Waiting, compile  # noqa: A004 - the architecture's word
from vegd.facts import NodeFacts
from vegd.spec import load

PYTHON = [sys.executable, "-m", "vegd"]


def eventually(condition: Callable[[], bool], what: str, within_s: float = 45.0) -> None:
    """Poll until the condition holds; fail with `what` was waited for."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Site:
    """A gateway's namespace with a router and an outside host on its links."""

    gateway: str
    router: str
    outside: str
    directory: Path
    spec: dict[str, Any] = field(default_factory=dict)
    engines: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def close(self) -> None:
        """End the engines of the router."""
        for engine in self.engines:
            engine.kill()
            engine.wait(5)

    @property
    def config(self) -> Path:
        """The configuration file, as `write` left it."""
        return self.directory / "gateway.yaml"

    @property
    def runtime_dir(self) -> Path:
        """The daemon's runtime directory."""
        return self.directory / "run"

    def write(self, **changes: Any) -> None:
        """Write the configuration, with some sections replaced, in one step as editors do."""
        self.spec |= changes
        fresh = self.config.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.spec, sort_keys=False))
        fresh.rename(self.config)

    def command(self, *arguments: str, ns: str | None = None) -> list[str]:
        """A vegd command line in the gateway's namespace."""
        return inside(ns or self.gateway, *PYTHON, *arguments)

    def vegd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a vegd command to its end."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, timeout=60
        )

    def status(self) -> dict[str, Any] | None:
        """The daemon's status, as ``vegd status`` reads it; None while none answers."""
        body = self.page("/v1/status")
        return None if body is None else dict(json.loads(body))

    def page(self, path: str, method: str = "GET") -> str | None:
        """A page of the control socket; None while no daemon answers."""
        return page_of(self.runtime_dir / "agent.sock", path, method)

    def metric(self, name: str) -> float:
        """The sum of a metric of the running daemon over its labels; 0 while there is none."""
        page = self.page("/metrics") or ""
        lines = (line.rsplit(" ", 1) for line in page.splitlines())
        return sum(float(value) for key, value in lines if key.partition("{")[0] == name)

    def plan(self) -> list[str]:
        """What the daemon would have to change in the kernel; empty if all is as configured."""

        async def work(kernel: Kernel) -> list[str]:
            compiled = compile(
                load(self.config), NodeFacts(await kernel.interfaces(), await kernel.tracking())
            )
            if isinstance(compiled, Waiting):
                return list(compiled.reasons)
            desired = render(compiled.dataplane)
            return diff(await kernel.observe(desired), desired).lines()

        return with_kernel(self.gateway, work)

    def sessions(self) -> list[dict[str, Any]]:
        """The sessions of the gateway's engine, as ``vegd sessions --json`` prints them; none while
        no engine answers. Starts no process."""
        return _sessions_of(self.runtime_dir)

    def router_sessions(self) -> list[dict[str, Any]]:
        """Those of the router's engine."""
        return _sessions_of(self.directory / "router")

    def footprint(self) -> str:
        """Everything of the kernel that the daemon could have touched, as text.

        Without the routes that the kernel makes by itself: those of a link-local address come some
        time after the link, and those of other addresses say no more than the address does.
        """
        printed = "\n".join(
            run(self.gateway, *command).stdout
            for command in (
                ("nft", "list", "ruleset"),
                ("ip", "rule"),
                ("ip", "-6", "rule"),
                ("ip", "route", "show", "table", "all"),
                ("ip", "-brief", "link"),
                ("ip", "-brief", "address", "show", "scope", "global"),
                ("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
            )
        )
        return "\n".join(line for line in printed.splitlines() if "proto kernel" not in line)

    @contextlib.contextmanager
    def daemon(
        self, command: str = "run", *options: str, environ: Mapping[str, str] | None = None
    ) -> Iterator["Daemon"]:
        """A running daemon; killed with its engine at the end if it still runs."""
        daemon = Daemon(self, command, *options, environ=environ)
        try:
            yield daemon
        finally:
            daemon.kill()

    def router_engine(
        self,
        peers: Mapping[str, str] | Iterable[tuple[str | bool, ...]],
        interval_ms: int = 50,
        multiplier: int = 3,
    ) -> Path:
        """An engine on the router with a session per (local, peer), or per whole session key;
        returns its directory."""
        keys = list(peers.items()) if isinstance(peers, Mapping) else list(peers)
        directory = self.directory / "router"
        directory.mkdir(exist_ok=True)
        script = _ROUTER.format(
            path=str(directory / "bfd.sock"),
            keys=keys,
            interval_us=interval_ms * 1000,
            multiplier=multiplier,
        )
        engine = [sys.executable, "-m", "bfd", "--runtime-dir", str(directory)]
        process = subprocess.Popen(inside(self.router, *engine), stderr=subprocess.DEVNULL)
        self.engines.append(process)
        eventually((directory / "bfd.sock").exists, "the router's engine")
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
        return directory


def _sessions_of(directory: Path) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        async with Client(directory / "bfd.sock") as client:
            return [each.to_json() for each in (await client.snapshot()).sessions]

    try:
        return asyncio.run(ask())
    except (OSError, ControlError):
        return []


_ROUTER = """
import asyncio
from pathlib import Path
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey

async def main():
    async with Client(Path({path!r})) as client:
        await client.configure(
            [SessionConfig(SessionKey(*key), {interval_us}, {interval_us}, {multiplier})
             for key in {keys!r}], 1)

asyncio.run(main())
"""


class Daemon:
    """One ``vegd run`` (or ``agent``) of a site."""

    def __init__(
        self,
        site: Site,
        command: str,
        *options: str,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.site = site
        self.log = site.directory / f"{command}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                site.command(
                    *(command, "--config", str(site.config)),
                    *("--runtime-dir", str(site.runtime_dir), *options),
                ),
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
            )

    def wait_for(self, state: str, reason: str = "") -> dict[str, Any]:
        """Wait for a state of the gateway, with a reason if one is named; returns the status.

        A gateway that starts may be degraded for another reason first.
        """
        found: dict[str, Any] = {}

        def reached() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            found.clear()
            found.update(self.site.status() or {})
            reasons = found.get("reasons", [])
            return found.get("state") == state and (
                not reason or any(reason in each for each in reasons)
            )

        eventually(reached, f"state {state} {reason}; {self.log}")
        return found

    def ends(self, within_s: float = 45.0) -> int:
        """Wait for the end; returns the exit status."""
        return self.process.wait(within_s)

    def kill(self) -> None:
        """SIGKILL to the daemon alone, if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(5)


def build(netns: Callable[[str], str], directory: Path) -> Site:
    """A site with everything in place, and a configuration that fits it."""
    gateway, router, outside = netns("gw"), netns("router"), netns("outside")
    veth(gateway, "eth0", router, "gw", (), ("192.168.0.1/24", "fd00::1/64"))
    veth(gateway, "ext0", outside, "gw", (), ("172.17.0.1/16", "fd17::1/64"))
    for address in ("10.255.255.255/32", "fdff::1/128"):
        ip("address", "add", address, "dev", "lo", ns=router)
    # The kernel says so some time after the carrier is there, and the footprint shows it.
    eventually(lambda: all(_is_up(gateway, name) for name in ("eth0", "ext0")), "links are up")
    site = Site(gateway, router, outside, directory)
    site.write(
        name="gw1",
        internal={
            "interface": "eth0",
            "addresses": ["192.168.0.2/24", "fd00::2/64"],
            "gateways": ["192.168.0.1", "fd00::1"],
        },
        external={
            "interface": "net1",
            "macvlan": {"parent": "ext0"},
            "addresses": ["172.17.0.11/16", "fd17::11/64"],
            "gateways": ["172.17.0.1", "fd17::1"],
        },
        policies=[{"name": "vpc", "snat": True, "ipBlocks": ["192.168.1.0/24", "fd01::/64"]}],
        bfd={
            "minTX": 50,
            "minRX": 50,
            "peers": [{"address": "10.255.255.255"}, {"address": "fdff::1"}],
        },
        drain={"forwardFor": 1, "quietFor": 0},
        metrics={"listen": "127.0.0.1:10669"},
    )
    return site


def _is_up(ns: str, interface: str) -> bool:
    (link,) = ip_json("link", "show", "dev", interface, ns=ns)
    return bool(link["operstate"] == "UP")


def page_of(agent: Path, path: str, method: str = "GET") -> str | None:
    """A page of an agent's control socket; None while none answers. Starts no process."""
    connection = http.client.HTTPConnection("vegd", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(10)
        connection.sock.connect(str(agent))
        connection.request(method, path)
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def get(ns: str, path: str) -> tuple[int, str]:
    """GET a page of the daemon in a namespace: HTTP status and body."""
    code = (
        "import sys, urllib.request, urllib.error\n"
        "try: answer = urllib.request.urlopen('http://127.0.0.1:10669' + sys.argv[1], timeout=5)\n"
        "except urllib.error.HTTPError as error: answer = error\n"
        "print(answer.status); print(answer.read().decode(), end='')"
    )
    done = run(ns, sys.executable, "-c", code, path)
    first, _, body = done.stdout.partition("\n")
    return int(first), body


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
