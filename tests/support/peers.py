"""BFD daemons of the distribution as peers in a namespace: FRR's bfdd and BIRD.

Both run alone, with configuration, sockets and pid files of their own in a directory of the test,
and are asked by their own tools how they see their sessions.
"""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.support.netns import inside

_BFDD = "/usr/lib/frr/bfdd"


class PeerView(NamedTuple):
    """How the peer sees one session."""

    state: str
    """In lower case: up, down, init."""
    told_admin_down: bool | None
    """Whether it has heard our diagnostic 7; None if it does not say."""


class Peer(Protocol):
    """A daemon that runs. `views` is keyed by our addresses."""

    process: subprocess.Popen[bytes]

    def views(self) -> Mapping[str, PeerView]:
        """The sessions as the peer sees them; empty while it does not answer."""

    def set_timers(self, ms: int) -> None:
        """Change both intervals while it runs."""

    def close(self) -> None:
        """Kill it."""


def why_missing(kind: str) -> str | None:
    """What has to be installed for a kind of peer ("frr", "bird"), or None."""
    programs = {"frr": (_BFDD, "vtysh"), "bird": ("bird", "birdc")}[kind]
    package = {"frr": "frr", "bird": "bird2"}[kind]
    for program in programs:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            return f"the program {program} is missing (Debian package {package})"
    return None


def _ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout if done.returncode == 0 else ""


@functools.cache
def _options() -> str:
    """The options that this version of bfdd has."""
    return _ask(_BFDD, "--help")


class _Daemon:
    def __init__(self, ns: str, directory: Path, *command: str) -> None:
        self._log = (directory / "output").open("wb")
        self.process = subprocess.Popen(
            inside(ns, *command), stdout=self._log, stderr=subprocess.STDOUT
        )

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()


class Frr(_Daemon):
    """bfdd with sessions from pairs of (its address, our address)."""

    def __init__(
        self,
        ns: str,
        directory: Path,
        pairs: Mapping[str, str],
        ms: int,
        *,
        passive: bool,
        multihop: bool,
    ) -> None:
        kind = " multihop" if multihop else ""
        self._peers = [f"peer {other}{kind} local-address {own}" for own, other in pairs.items()]
        lines = ["bfd"]
        for peer in self._peers:
            lines += [f" {peer}", f"  receive-interval {ms}", f"  transmit-interval {ms}"]
            lines += [*(["  passive-mode"] if passive else []), " !"]
        configuration = directory / "bfdd.conf"
        configuration.write_text("\n".join([*lines, "!", ""]))
        self._directory = directory
        # As root and in the group of the control sockets, so that the directory of the test will
        # do; without zebra, which it looks for in vain.
        super().__init__(
            ns,
            directory,
            *(_BFDD, "-f", str(configuration), "-i", str(directory / "pid")),
            *("--vty_socket", str(directory), "-z", str(directory / "zserv.api")),
            *("-P", "0", "-u", "root", "-g", "frrvty"),
            # FRR 10 has no such socket any more; before, two daemons must not share it.
            *(["--bfdctl", str(directory / "bfdd.sock")] if "--bfdctl" in _options() else []),
        )

    def set_timers(self, ms: int) -> None:
        """On each peer, receive first."""
        self._configure(f"receive-interval {ms}", f"transmit-interval {ms}")

    def shut_down(self, *, down: bool) -> None:
        """Take every session administratively down, or let it run again."""
        self._configure("shutdown" if down else "no shutdown")

    def _configure(self, *lines: str) -> None:
        for peer in self._peers:
            commands = ["configure terminal", "bfd", peer, *lines]
            self._vtysh(*commands)

    def _vtysh(self, *commands: str) -> str:
        options = [word for command in commands for word in ("-c", command)]
        return _ask("vtysh", "--vty_socket", str(self._directory), "-d", "bfdd", *options)

    def views(self) -> Mapping[str, PeerView]:
        """From ``show bfd peers json``."""
        text = self._vtysh("show bfd peers json")
        return {
            x["peer"]: PeerView(x["status"], x["remote-diagnostic"] == "administratively down")
            for x in json.loads(text or "[]")
        }


class Bird(_Daemon):
    """bird with sessions from pairs of (its address, our address)."""

    def __init__(
        self,
        ns: str,
        directory: Path,
        pairs: Mapping[str, str],
        ms: int,
        *,
        passive: bool,
        multihop: bool,
    ) -> None:
        self._pairs = pairs
        self._passive = passive
        self._multihop = multihop
        self._configuration = directory / "bird.conf"
        self._socket = directory / "bird.ctl"
        self._write(ms)
        super().__init__(
            ns,
            directory,
            *("bird", "-f", "-c", str(self._configuration), "-s", str(self._socket)),
            *("-P", str(directory / "bird.pid")),
        )

    def _write(self, ms: int) -> None:
        kind = " multihop yes" if self._multihop else ""
        where = "multihop" if self._multihop else 'interface "*"'
        sessions = "\n".join(f"  neighbor {o} local {own}{kind};" for own, o in self._pairs.items())
        self._configuration.write_text(
            "router id 192.0.2.99;\nprotocol device { }\nprotocol bfd {\n"
            f"  {where}"
            f" {{ interval {ms} ms; multiplier 3;"
            f" passive {'yes' if self._passive else 'no'}; }};\n{sessions}\n}}\n"
        )

    def set_timers(self, ms: int) -> None:
        """By a new configuration file."""
        self._write(ms)
        _ask("birdc", "-s", str(self._socket), "configure")

    def views(self) -> Mapping[str, PeerView]:
        """From ``show bfd sessions``; BIRD does not show diagnostics."""
        views = {}
        for line in _ask("birdc", "-s", str(self._socket), "show", "bfd", "sessions").splitlines():
            words = line.split()
            if len(words) >= 5 and ("." in words[0] or ":" in words[0]) and words[0] != "bfd1:":
                views[words[0]] = PeerView(words[2].lower(), None)
        return views


def start_peer(
    kind: str,
    ns: str,
    directory: Path,
    pairs: Mapping[str, str],
    ms: int,
    *,
    passive: bool = False,
    multihop: bool = False,
) -> Peer:
    """Start a peer of a kind; its `views` fill as it comes up."""
    directory.mkdir(exist_ok=True)
    make = {"frr": Frr, "bird": Bird}[kind]
    return make(ns, directory, pairs, ms, passive=passive, multihop=multihop)
