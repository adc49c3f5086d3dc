"""Two namespaces with a cable, one for an engine of ours and one for its peer."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bfd.config import SessionConfig, SessionKey
from tests.support import netns as net
from tests.support.bfd_process import Capture, Captured

OURS, THEIRS = ("10.99.0.1", "fd99::1"), ("10.99.0.2", "fd99::2")


class Pair(NamedTuple):
    """The namespaces, and a capture of what the second one receives."""

    ours: str
    theirs: str
    capture: Capture

    def packets(self) -> list[Captured]:
        """What we sent since the last time of asking."""
        return [each for each in self.capture.packets() if each.source in OURS]


@contextlib.contextmanager
def connected(netns: Callable[[str], str]) -> Iterator[Pair]:
    """Make them; the interfaces are ve and vp."""
    ours, theirs = netns("ours"), netns("theirs")
    net.veth(
        *(ours, "ve", theirs, "vp"),
        addresses_a=[f"{OURS[0]}/24", f"{OURS[1]}/64"],
        addresses_b=[f"{THEIRS[0]}/24", f"{THEIRS[1]}/64"],
    )
    with contextlib.closing(Capture(theirs, "vp")) as capture:
        yield Pair(ours, theirs, capture)


def sessions(ms: int, local: tuple[str, str], peer: tuple[str, str]) -> list[SessionConfig]:
    """A session of each family, times three."""
    ends = zip(local, peer, strict=True)
    return [SessionConfig(SessionKey(a, b), ms * 1000, ms * 1000, 3) for a, b in ends]


def ends(packets: list[Captured]) -> set[tuple[str, int, int]]:
    """Addresses, source ports and discriminators that packets came from."""
    return {(each.source, each.port, each.packet.my_discr) for each in packets}
