"""The OVN end of a BFD session as ovn-controller plays it, with what it does differently.

One row of OVN's BFD table, on sockets in a namespace and on the event loop of the test. By default
it behaves as measured on OVN 23.03 and 25.03:

* packets arrive with TTL or hop limit 254, over IPv4 without a UDP checksum, diagnostic 0;
* a session is found by source address and Your Discriminator alone: 0 and anything else is ignored;
* it sends at its interval in every state, without a slow start, and never polls; Poll gets a Final;
* the first detection time is 30 s; intervals lose what is below a millisecond, and 0 stops it;
* the pending packet keeps its time when the interval becomes shorter, be it a second away;
* Init and Up make the next hop usable; AdminDown shows in the row up to `status_delay_s` late;
* after its own timeout it goes on with the old Your Discriminator;
* with `loses_timers` it forgets them when something wakes it too early, and sleeps until the next
  packet, of whatever kind, arrives.

How late the loop called is kept, so that a test can tell a fault of the engine from a busy machine.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator

from bfd.fsm import State
from bfd.packet import ControlPacket, Discard, decode, encode
from tests.support.bfd_process import socket_in

_SO_NO_CHECK = 11
_FIRST_DETECTION_S = 30.0


class OvnPeer:
    """See the module. `own` and `other` are addresses; intervals are in milliseconds."""

    def __init__(
        self,
        ns: str,
        own: str,
        other: str,
        *,
        ms: int = 100,
        ttl: int = 254,
        loses_timers: bool = True,
        longest_gap: float = 1.0,
        status_delay_s: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.min_tx_ms = self.min_rx_ms = ms
        self.loses_timers = loses_timers
        self.longest_gap = longest_gap
        self.status_delay_s = status_delay_s
        self.discr = 0x0A0B0C0D
        self.state = State.DOWN
        self.your_discr = 0
        self.statuses: list[str] = ["admin_down"]
        """What the row of the database has shown."""
        self.ignored = 0
        self.heard: list[ControlPacket] = []
        self.sent = 0
        self.timeouts = 0
        self.late_s = 0.0
        """The worst lateness of this peer's own timers."""
        self._rng = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._remote: ControlPacket | None = None
        self._peer = other
        self._open(ns, own, other, ttl)
        now = self._loop.time()
        self._next_tx = now
        self._detect_at = now + _FIRST_DETECTION_S
        self._wake_at(now)

    def _open(self, ns: str, own: str, other: str, ttl: int) -> None:
        v6 = ":" in own
        family = socket.AF_INET6 if v6 else socket.AF_INET
        self._in = socket_in(ns, family, socket.SOCK_DGRAM)
        self._in.setblocking(False)
        self._in.bind((own, 3784))
        self._out = socket_in(ns, family, socket.SOCK_DGRAM)
        if v6:
            self._out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            self._out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            self._out.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        self._out.bind((own, 49_160))
        self._loop.add_reader(self._in, self._on_readable)
        self._out.connect((other, 3784))

    def close(self) -> None:
        """Stop, as if the chassis were lost."""
        self._loop.remove_reader(self._in)
        if self._handle is not None:
            self._handle.cancel()
        self._in.close()
        self._out.close()

    @property
    def usable(self) -> bool:
        """Whether OVN sends traffic to the next hop: Init is as good as Up."""
        return self.statuses[-1] in {"init", "up"}

    @property
    def interval_s(self) -> float:
        """The transmit interval; 0 when the other side wants nothing, or less than 1 ms."""
        theirs = self._remote.required_min_rx_us // 1000 if self._remote else 1
        return max(self.min_tx_ms, theirs) / 1000 if theirs else 0.0

    def move_chassis(self) -> None:
        """Another chassis takes the port: same discriminator and source port, all else anew."""
        self.state, self.your_discr, self._remote = State.DOWN, 0, None
        self._detect_at = self._loop.time() + _FIRST_DETECTION_S
        self._next_tx = self._loop.time()
        self._wake_at(self._next_tx)

    def poke(self) -> None:
        """Something else wakes the thread, such as a router advertisement."""
        self._wake_at(self._loop.time())

    # Packets --------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = self._in.recvfrom(512)
                self._receive(decode(data), address[0])
        # Each packet of whatever kind runs the thread.
        self._run()

    def _receive(self, packet: ControlPacket | Discard, source: str) -> None:
        if isinstance(packet, Discard) or packet.auth or source != self._peer:
            self.ignored += 1
            return
        if packet.your_discr != self.discr:
            self.ignored += 1
            return
        self.heard.append(packet)
        self._remote = packet
        self.your_discr = packet.my_discr
        now = self._loop.time()
        theirs_ms = max(packet.desired_min_tx_us // 1000, self.min_rx_ms)
        self._detect_at = now + packet.detect_mult * theirs_ms / 1000
        self._step(packet.state)
        if packet.poll:
            self._send(final=True)

    def _step(self, heard: State) -> None:
        old = self.state
        if heard is State.ADMIN_DOWN:
            self.state = State.DOWN
        elif self.state is State.DOWN and heard in {State.DOWN, State.INIT}:
            self.state = State.INIT if heard is State.DOWN else State.UP
        elif self.state is State.INIT and heard in {State.INIT, State.UP}:
            self.state = State.UP
        elif self.state is State.UP and heard is State.DOWN:
            self.state = State.DOWN
        if self.state is not old:
            self._write_status(self.status_delay_s)
            self._next_tx = self._loop.time()

    def _write_status(self, delay_s: float) -> None:
        def write() -> None:
            self.statuses.append(self.state.name.lower())

        if delay_s:
            self._loop.call_later(delay_s, write)
        else:
            write()

    def _send(self, *, final: bool = False) -> None:
        packet = ControlPacket(
            self.state,
            self.discr,
            self.your_discr,
            self.min_tx_ms * 1000,
            self.min_rx_ms * 1000,
            final=final,
        )
        self.sent += 1
        with contextlib.suppress(ConnectionRefusedError):
            self._out.send(encode(packet))

    # Time -----------------------------------------------------------------------------------

    def _wake_at(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self._on_time, at)

    def _on_time(self, at: float) -> None:
        self.late_s = max(self.late_s, self._loop.time() - at)
        self._run()

    def _run(self) -> None:
        now = self._loop.time()
        busy = False
        if self._detect_at <= now:
            busy = True
            self.timeouts += self.state in {State.INIT, State.UP}
            # The old Your Discriminator stays, and so does what the peer announced.
            self.state = State.DOWN
            self._write_status(0)
            self._detect_at = now + _FIRST_DETECTION_S
        if self._next_tx <= now and self.interval_s:
            busy = True
            self._send()
            low = 0.75 if self.longest_gap == 1.0 else self.longest_gap * 0.9
            self._next_tx = now + self.interval_s * self._rng.uniform(low, self.longest_gap)
        if busy or not self.loses_timers:
            self._wake_at(min(self._times()))
        elif self._handle is not None:
            self._handle.cancel()

    def _times(self) -> Iterator[float]:
        yield self._detect_at
        if self.interval_s:
            yield self._next_tx
