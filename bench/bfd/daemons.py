"""The daemons that are compared: how each is started, and what it can do.

Each runs alone in a namespace with configuration, sockets and pid files of its own in a throw-away
directory, and with its defaults, except that it keeps no log. Detection multiplier 3 everywhere.
"""

import compileall
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from bench.support.namespaces import Namespace
from bench.support.processes import end, in_group

MULT = 3
ROOT = Path(__file__).parents[2]
AIOBFD_PYTHON = ROOT / ".cache/aiobfd/bin/python"
_BFDD = "/usr/lib/frr/bfdd"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

Pairs = Sequence[tuple[str, str]]


class Setting(NamedTuple):
    """How a daemon is to run."""

    namespace: Namespace
    pairs: Pairs
    """Its address and the peer's, for each session."""
    interval_ms: int
    groups: Sequence[Path] = ()
    """Files of control groups to start in."""
    without_nice: bool = False
    """Without CAP_SYS_NICE, as in an ordinary container."""


class Daemon(ABC):
    """A daemon that runs, until `close`. The first thing that it does is be started."""

    name = ""
    most: ClassVar = {100: 1000, 50: 64, 10: 64}
    """The most sessions that it is asked for, by interval in ms."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.directory = Path(tempfile.mkdtemp(prefix="vegd-bench-"))
        command = self.prepare()
        if setting.without_nice:
            command = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", *command]
        self.output = (self.directory / "output").open("w")
        self.started_ns = time.time_ns()
        self.process = setting.namespace.popen(
            in_group(setting.groups, command),
            stdout=self.output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
        )
        try:
            self.configure()
        except BaseException:
            self.close()
            raise

    @classmethod
    def why_not(cls) -> str | None:
        """What is missing, or None."""
        return None

    @classmethod
    def version(cls) -> str:
        """Name and version."""
        return cls.name

    @abstractmethod
    def prepare(self) -> list[str]:
        """Write the configuration; the command."""

    def configure(self) -> None:  # noqa: B027 - most know all from their file
        """What has to be done once it runs."""

    def remark(self) -> str:
        """Anything that a reader should know about this run."""
        return ""

    def close(self) -> None:
        """Kill it."""
        end(self.process)
        self.output.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def complaint(self) -> str:
        """The end of what it printed."""
        return (self.directory / "output").read_text()[-500:]


class Vegd(Daemon):
    """The engine as a process, configured over its control socket as by the agent."""

    name = "vegd"

    @classmethod
    def version(cls) -> str:
        """Name and version."""
        done = _printed(sys.executable, "-c", "import vegd; print(vegd.__version__)")
        return f"vegd {done or ''}".strip()

    def prepare(self) -> list[str]:
        """See `Daemon`."""
        # As pip does for a package that it installs; rivals come compiled, too.
        compileall.compile_dir(ROOT / "bfd", quiet=1)
        return [sys.executable, "-m", "bfd", "--runtime-dir", str(self.directory)]

    def configure(self) -> None:
        """Send the set as soon as the socket is there."""
        lines = [{"op": "hello", "version": 1}, {"op": "begin", "generation": 1}]
        for local, peer in self.setting.pairs:
            interval_us = self.setting.interval_ms * 1000
            session = {
                "local": local,
                "peer": peer,
                "desired_min_tx_us": interval_us,
                "required_min_rx_us": interval_us,
                "detect_mult": MULT,
            }
            lines.append({"op": "put", "session": session})
        lines.append({"op": "commit"})
        self._control = self._connect()
        self._file = self._control.makefile("rw")
        for first in range(0, len(lines), 16):
            portion = lines[first : first + 16]
            self._file.writelines(json.dumps(line) + "\n" for line in portion)
            self._file.flush()
            for _ in portion:
                answer = self._file.readline()
                if '"ok":true' not in answer:
                    raise RuntimeError(f"vegd has refused: {answer}")

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        deadline = time.monotonic() + 20
        while True:
            try:
                sock.connect(str(self.directory / "bfd.sock"))
                return sock
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    sock.close()
                    raise RuntimeError(f"vegd does not start: {self.complaint()}") from None
                time.sleep(0.001)

    def remark(self) -> str:
        """The scheduling class that it was granted."""
        self._file.write('{"op":"snapshot"}\n')
        self._file.flush()
        head = json.loads(self._file.readline())["head"]
        return f"scheduling: {head['scheduling']}"

    def close(self) -> None:
        """Kill it."""
        if hasattr(self, "_file"):
            self._file.close()
            self._control.close()
        super().close()


class Frr(Daemon):
    """bfdd of FRR, alone: without zebra, which it looks for in vain."""

    name = "FRR"
    most: ClassVar = {100: 512, 50: 64, 10: 64}

    @classmethod
    def why_not(cls) -> str | None:
        """What is missing, or None."""
        return None if Path(_BFDD).exists() else "Debian package frr is not installed"

    @classmethod
    def version(cls) -> str:
        """Name and version."""
        words = _printed(_BFDD, "--version").split()
        return f"FRR {words[2] if len(words) > 2 else ''}".strip()

    def prepare(self) -> list[str]:
        """See `Daemon`."""
        lines = ["bfd"]
        for local, peer in self.setting.pairs:
            lines += [
                f" peer {peer} local-address {local}",
                f"  receive-interval {self.setting.interval_ms}",
                f"  transmit-interval {self.setting.interval_ms}",
                " !",
            ]
        configuration = self.directory / "bfdd.conf"
        configuration.write_text("\n".join([*lines, "!", ""]))
        return [
            *(_BFDD, "-f", str(configuration), "-i", str(self.directory / "pid")),
            *("--vty_socket", str(self.directory), "-z", str(self.directory / "zserv.api")),
            *("--bfdctl", str(self.directory / "bfdd.sock"), "-P", "0"),
            *("-u", "root", "-g", "frrvty"),
        ]


class Bird(Daemon):
    """BIRD with no protocol but BFD. With `as_peer` the pairs are read the other way round."""

    name = "BIRD"

    @classmethod
    def why_not(cls) -> str | None:
        """What is missing, or None."""
        return None if shutil.which("bird", path=_PATH) else "Debian package bird2 is not installed"

    @classmethod
    def version(cls) -> str:
        """Name and version."""
        done = subprocess.run(
            ["bird", "--version"], capture_output=True, text=True, check=False, env={"PATH": _PATH}
        )
        return (done.stdout + done.stderr).strip().replace(" version", "")

    def prepare(self) -> list[str]:
        """See `Daemon`."""
        neighbors = "\n".join(f"  neighbor {o} local {own};" for own, o in self.setting.pairs)
        configuration = self.directory / "bird.conf"
        configuration.write_text(
            "router id 192.0.2.99;\nprotocol device { }\nprotocol bfd {\n"
            f'  interface "*" {{ interval {self.setting.interval_ms} ms; multiplier {MULT}; }};\n'
            f"{neighbors}\n}}\n"
        )
        bird = shutil.which("bird", path=_PATH) or "bird"
        return [
            *(bird, "-f", "-c", str(configuration), "-s", str(self.directory / "bird.ctl")),
            *("-P", str(self.directory / "bird.pid")),
        ]

    def up(self) -> int:
        """How many sessions are Up at their fast interval."""
        interval = f"{self.setting.interval_ms / 1000:.3f}"
        shown = _printed(
            *(shutil.which("birdc", path=_PATH) or "birdc", "-s", str(self.directory / "bird.ctl")),
            *("show", "bfd", "sessions"),
        )
        rows = [line.split() for line in shown.splitlines()]
        return sum(len(row) > 5 and row[2] == "Up" and row[4] == interval for row in rows)


_AIOBFD = """
import asyncio, json, sys
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
import aiobfd
options = json.loads(sys.argv[1])
remotes = {}
for local, remote in options["pairs"]:
    remotes.setdefault(local, []).append(remote)
controls = [
    aiobfd.Control(local, others, tx_interval=options["us"], rx_interval=options["us"],
                   detect_mult=options["mult"], loop=loop)
    for local, others in remotes.items()
]
for control in controls[1:]:
    asyncio.ensure_future(control.rx_packets(), loop=loop)
controls[0].run()
"""


class Aiobfd(Daemon):
    """aiobfd; its command line has one session only, so it is started by its own classes."""

    name = "aiobfd"
    most: ClassVar = {100: 64, 50: 16, 10: 16}

    @classmethod
    def why_not(cls) -> str | None:
        """What is missing, or None."""
        if AIOBFD_PYTHON.exists():
            return None
        return "its environment is not there; `make bench-bfd` makes it"

    @classmethod
    def version(cls) -> str:
        """Name and version."""
        code = "import importlib.metadata as m; print(m.version('aiobfd'))"
        return f"aiobfd {_printed(str(AIOBFD_PYTHON), '-c', code)}".strip()

    def prepare(self) -> list[str]:
        """See `Daemon`."""
        options = {
            "pairs": self.setting.pairs,
            "us": self.setting.interval_ms * 1000,
            "mult": MULT,
        }
        return [str(AIOBFD_PYTHON), "-W", "ignore", "-c", _AIOBFD, json.dumps(options)]


class OpenBfdd(Daemon):
    """OpenBFDD; it speaks with its control program over port 957 of its namespace's loopback."""

    name = "OpenBFDD"
    most: ClassVar = {100: 512, 50: 64, 10: 64}

    @classmethod
    def why_not(cls) -> str | None:
        """What is missing, or None."""
        missing = [p for p in ("bfdd-beacon", "bfdd-control") if not shutil.which(p, path=_PATH)]
        return f"not on PATH: {', '.join(missing)}" if missing else None

    def prepare(self) -> list[str]:
        """See `Daemon`."""
        interval_ms = self.setting.interval_ms
        lines = [
            "log level none",
            f"session new set mintx {interval_ms} ms",
            f"session new set minrx {interval_ms} ms",
            f"session new set multi {MULT}",
            *(f"connect local {local} remote {peer}" for local, peer in self.setting.pairs),
        ]
        (self.directory / "commands").write_text("\n".join([*lines, ""]))
        return [shutil.which("bfdd-beacon", path=_PATH) or "bfdd-beacon", "--nofork"]

    def configure(self) -> None:
        """Load the commands as soon as it listens."""
        control = shutil.which("bfdd-control", path=_PATH) or "bfdd-control"
        deadline = time.monotonic() + 20
        while True:
            try:
                self.setting.namespace.run([control, "load", str(self.directory / "commands")])
                return
            except RuntimeError as exc:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"OpenBFDD does not start: {exc}") from None
                time.sleep(0.002)


DAEMONS: dict[str, type[Daemon]] = {d.name: d for d in (Vegd, Bird, Frr, Aiobfd, OpenBfdd)}


def _printed(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
