"""A daemon and a peer in two namespaces, brought up and ready to be measured."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.bfd.capture import Capture
from bench.bfd.daemons import DAEMONS, MULT, ROOT, Bird, Daemon, Pairs, Setting
from bench.support.namespaces import Namespace, hardware_address, namespaces, veth
from bench.support.processes import end

_UP_WITHIN_S = 45.0


class NotUp(Exception):
    """The sessions did not come up; the message says how far they came."""


def _address(first: int, number: int) -> str:
    return f"10.90.{first + number // 250}.{1 + number % 250}"


def star(count: int) -> Pairs:
    """One address of the daemon, and a peer for each session."""
    return [(_address(0, 0), _address(128, n)) for n in range(count)]


def ladder(count: int) -> Pairs:
    """An address on either side for each session; BIRD wants a peer of its own for each."""
    return [(_address(0, n), _address(128, n)) for n in range(count)]


@contextlib.contextmanager
def link(pairs: Pairs) -> Iterator[list[Namespace]]:
    """Two namespaces with the addresses, and permanent neighbours, so that nobody has to ask."""
    with namespaces("daemon", "peer") as (near, far):
        veth(near, "own0", far, "peer0")
        sides = (
            (near, "own0", dict.fromkeys(own for own, _ in pairs)),
            (far, "peer0", dict.fromkeys(other for _, other in pairs)),
        )
        hardware = [hardware_address(side, name) for side, name, _ in sides]
        for (side, name, own), (_, _, others), mac in zip(
            sides, reversed(sides), reversed(hardware), strict=True
        ):
            side.ip(
                [f"address add {address}/16 dev {name}" for address in own]
                + [f"neigh add {o} lladdr {mac} dev {name} nud permanent" for o in others]
            )
        yield [near, far]


class LoopPeer:
    """`bench.bfd.peer` as a process."""

    def __init__(self, namespace: Namespace, pairs: Pairs, interval_ms: int, **more: Any) -> None:
        options = {
            "pairs": [(peer, own) for own, peer in pairs],
            "interval_us": interval_ms * 1000,
            "mult": MULT,
            **more,
        }
        program = str(Path(__file__).parent / "peer.py")
        self.process = namespace.popen(
            [sys.executable, "-I", program, json.dumps(options)], stdin=-1, stdout=-1, cwd=ROOT
        )
        self._answer()

    def status(self) -> dict[str, int]:
        """Its counts."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, int]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the peer has ended")
        return json.loads(line)

    def settled(self) -> int:
        """Sessions that are Up at their final intervals."""
        return self.status()["settled"]

    def close(self) -> None:
        """End it."""
        end(self.process)


class BirdPeer:
    """BIRD as the other end."""

    def __init__(self, namespace: Namespace, pairs: Pairs, interval_ms: int) -> None:
        self._bird = Bird(Setting(namespace, [(peer, own) for own, peer in pairs], interval_ms))
        self.process = self._bird.process

    def settled(self) -> int:
        """Sessions that are Up at their final intervals."""
        return self._bird.up()

    def close(self) -> None:
        """End it."""
        self._bird.close()


class Meeting:
    """What a measurement has to work with."""

    def __init__(self, near: Namespace, peer: Any, daemon: Daemon, capture: Capture | None) -> None:
        self.near = near
        self.peer = peer
        self.daemon = daemon
        self.capture = capture

    def wait_until_up(self) -> None:
        """Until every session is Up and has settled. Raises NotUp."""
        count = len(self.daemon.setting.pairs)
        deadline = time.monotonic() + _UP_WITHIN_S
        while (settled := self.peer.settled()) < count:
            if self.daemon.process.poll() is not None:
                raise NotUp(f"{self.daemon.name} has ended: {self.daemon.complaint()}")
            if time.monotonic() > deadline:
                raise NotUp(f"{settled} of {count} sessions within {_UP_WITHIN_S:g} s")
            time.sleep(0.05)


@contextlib.contextmanager
def meeting(
    name: str,
    pairs: Pairs,
    interval_ms: int,
    *,
    peer: str = "loop",
    capture: bool = False,
    mute_s: tuple[float, float] | None = None,
    **how: Any,
) -> Iterator[Meeting]:
    """Start a peer and then a daemon (`how`: see `Setting`); everything ends with the block."""
    with contextlib.ExitStack() as stack:
        near, far = stack.enter_context(link(pairs))
        seen = None
        if capture:
            seen = near.call(Capture, "own0")
            stack.callback(seen.close)
        other: Any
        if peer == "BIRD":
            other = BirdPeer(far, pairs, interval_ms)
        else:
            more = {"mute_s": mute_s} if mute_s else {}
            other = LoopPeer(far, pairs, interval_ms, **more)
        stack.callback(other.close)
        daemon = DAEMONS[name](Setting(near, pairs, interval_ms, **how))
        stack.callback(daemon.close)
        yield Meeting(near, other, daemon, seen)
