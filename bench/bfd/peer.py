"""The other end of every measurement: a BFD peer that is cheap and prompt.

A bare loop of epoll, recvmsg and struct, standard library only and nothing of vegd. It speaks as
much BFD as a measurement needs: handshake, answers to polls, a poll of its own once Up, jittered
packets, detection. It waits to be spoken to, and then says every change at once. Started as a
program with a JSON document of options; each line on standard input is answered with a line of
JSON, and the end of standard input ends it.
"""

import contextlib
import heapq
import json
import os
import random
import resource
import select
import socket
import struct
import sys
import time
from typing import Any

HEADER = struct.Struct("!BBBBIIIII")
PKTINFO = struct.Struct("=i4s4s")
ADMIN_DOWN, DOWN, INIT, UP = range(4)
POLL, FINAL = 0x20, 0x10
PORT = 3784
_FIRST_SOURCE_PORT = 49152
_IP_PKTINFO = 8
_SLOW_US = 1_000_000
_NEVER_US = 1 << 62
_MUTE_AT_MOST_US = 3_000_000


class Session:
    """One session; times in microseconds of the monotonic clock."""

    def __init__(self, number: int, own: str, other: str, interval_us: int, mult: int) -> None:
        self.discr = number + 1
        self.interval_us = interval_us
        self.mult = mult
        self.state = DOWN
        self.yours = 0
        self.last = b""
        self.heard_us = _NEVER_US
        self.remote_tx_us = self.remote_min_rx_us = self.remote_mult = 1
        self.polling = False
        self.wire = b""
        self.gap_us = _SLOW_US
        self.detect_us = _NEVER_US
        self.mute_at_us = _NEVER_US
        self.mute_since_us: int | None = None
        self.heap_time = _NEVER_US
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.sock.bind((own, _FIRST_SOURCE_PORT + number))
        self.sock.connect((other, PORT))

    @property
    def settled(self) -> bool:
        """Up, and both sides have moved to their fast interval."""
        return self.state == UP and not self.polling and self.remote_tx_us <= self.interval_us

    def prepare(self, flags: int = 0) -> bytes:
        """Bring the packet and the intervals into line with the state; the packet."""
        desired_us = self.interval_us if self.state == UP else max(self.interval_us, _SLOW_US)
        self.gap_us = max(desired_us, self.remote_min_rx_us)
        self.detect_us = self.remote_mult * max(self.interval_us, self.remote_tx_us)
        if self.polling and not flags:
            flags = POLL
        diagnostic = 0
        return HEADER.pack(
            *(1 << 5 | diagnostic, self.state << 6 | flags, self.mult, 24),
            *(self.discr, self.yours, desired_us, self.interval_us, 0),
        )


class Peer:
    """All sessions. With `mute_s` (a range), each falls silent now and then until it is missed."""

    def __init__(self, options: dict[str, Any]) -> None:
        pairs = options["pairs"]
        self.sessions = [
            Session(n, own, other, options["interval_us"], options["mult"])
            for n, (own, other) in enumerate(pairs)
        ]
        self.by_discr = {s.discr: s for s in self.sessions}
        self.by_address = {
            (socket.inet_aton(own), other): session
            for (own, other), session in zip(pairs, self.sessions, strict=True)
        }
        self.mute_s = options.get("mute_s")
        self.heap: list[tuple[int, int, Session]] = []
        self.received = self.told_down = self.expired = self.missed = 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("", PORT))

    def status(self) -> dict[str, int]:
        """Counts for the measurement."""
        return {
            "up": sum(s.state == UP for s in self.sessions),
            "settled": sum(s.settled for s in self.sessions),
            "received": self.received,
            "told_down": self.told_down,
            "expired": self.expired,
            "missed": self.missed,
        }

    def run(self) -> None:
        """Serve until standard input ends."""
        epoll = select.epoll()
        epoll.register(self.sock, select.EPOLLIN)
        epoll.register(sys.stdin, select.EPOLLIN)
        stdin = sys.stdin.fileno()
        while True:
            wait_s = -1.0
            if self.heap:
                wait_s = max(self.heap[0][0] - time.monotonic_ns() // 1000, 0) / 1e6
            for fd, _ in epoll.poll(wait_s):
                if fd == stdin:
                    if not os.read(stdin, 4096):
                        return
                    sys.stdout.write(json.dumps(self.status()) + "\n")
                    sys.stdout.flush()
            self.drain()
            self.on_time(time.monotonic_ns() // 1000)

    def drain(self) -> None:
        """Read everything that waits."""
        now_us = time.monotonic_ns() // 1000
        recvmsg, by_discr = self.sock.recvmsg, self.by_discr
        while True:
            try:
                data, ancillary, _, address = recvmsg(64, 64)
            except BlockingIOError:
                return
            self.received += 1
            session = by_discr.get(int.from_bytes(data[8:12], "big"))
            if session is not None:
                if session.heard_us + session.detect_us < now_us:
                    self.expire(session)
                elif session.last == data:
                    session.heard_us = now_us
                    continue
            if session is None:
                own = PKTINFO.unpack(ancillary[0][2])[2]
                session = self.by_address.get((own, address[0]))
            if session is not None:
                self.hear(session, data, now_us)

    def hear(self, session: Session, data: bytes, now_us: int) -> None:
        """A packet that is not the same as the last."""
        _, flags, mult, _, mine, _, tx_us, rx_us, _ = HEADER.unpack(data[:24])
        heard = flags >> 6
        old = session.state
        session.last = b"" if flags & (POLL | FINAL) else data
        session.heard_us = now_us
        session.yours, session.remote_mult = mine, mult
        session.remote_tx_us, session.remote_min_rx_us = tx_us, rx_us
        if flags & FINAL:
            session.polling = False
        if session.mute_since_us is not None:
            if heard == UP:
                return
            self.missed += 1
            session.mute_since_us = None
            session.state = DOWN
        elif old == UP and heard < INIT:
            self.told_down += 1
            session.state = DOWN
        elif old == DOWN and heard in {DOWN, INIT}:
            session.state = INIT if heard == DOWN else UP
        elif old == INIT and heard in {INIT, UP}:
            session.state = UP
        if session.state != old:
            session.last = b""
            session.polling = session.state == UP
        session.wire = session.prepare()
        if flags & POLL:
            session.sock.send(session.prepare(FINAL))
        if session.state != old:
            self.send(session, now_us)
        elif session.heap_time > now_us + session.gap_us:
            self.plan(session, now_us)
        self.plan_muteness(session, now_us)

    def expire(self, session: Session) -> None:
        """The daemon has been silent for the detection time."""
        if session.state < INIT:
            return
        self.expired += session.mute_since_us is None
        session.state, session.yours, session.polling = DOWN, 0, False
        session.last, session.mute_since_us, session.mute_at_us = b"", None, _NEVER_US
        session.wire = session.prepare()

    def plan_muteness(self, session: Session, now_us: int) -> None:
        """Once everything has settled, choose when to fall silent."""
        if self.mute_s and session.settled:
            if session.mute_at_us == _NEVER_US:
                session.mute_at_us = now_us + int(random.uniform(*self.mute_s) * 1e6)
        else:
            session.mute_at_us = _NEVER_US

    def send(self, session: Session, now_us: int) -> None:
        """Send now, and plan the next packet."""
        with contextlib.suppress(ConnectionRefusedError):
            session.sock.send(session.wire)
        self.plan(session, now_us)

    def plan(self, session: Session, now_us: int) -> None:
        """The next packet after 75 to 100 % of the interval, so that a loop a little late fits."""
        session.heap_time = now_us + int(session.gap_us * (0.77 + 0.2 * random.random()))
        heapq.heappush(self.heap, (session.heap_time, session.discr, session))

    def on_time(self, now_us: int) -> None:
        """Send what is due, and miss what did not come."""
        heap = self.heap
        while heap and heap[0][0] <= now_us:
            at_us, _, session = heapq.heappop(heap)
            if at_us != session.heap_time:
                continue
            if session.heard_us + session.detect_us < now_us:
                self.expire(session)
            if session.mute_at_us <= now_us:
                session.mute_since_us, session.mute_at_us = now_us, _NEVER_US
            if session.mute_since_us is None:
                self.send(session, now_us)
            elif now_us - session.mute_since_us > _MUTE_AT_MOST_US:
                session.mute_since_us = None
                self.send(session, now_us)
            else:
                self.plan(session, now_us)


def main() -> None:
    """Run with the options in the only argument."""
    options = json.loads(sys.argv[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peer = Peer(options)
    # Prompt also where the daemon under test is given no time.
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    peer.run()


if __name__ == "__main__":
    main()
