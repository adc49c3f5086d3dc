"""The probing process of one client: numbered UDP datagrams from each source address, and HTTP.

``python -m vegd.lab.probe udp INTERVAL_MS RESULT SOURCE=TARGET…`` sends from every source each
interval until SIGTERM, then waits for the last answers and writes RESULT. One line every 200 ms on
standard output tells how it goes. ``python -m vegd.lab.probe http SOURCE=TARGET…`` asks once from
each source and prints the answers. Times are CLOCK_MONOTONIC, seconds.
"""

import http.client
import json
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from vegd.lab.topology import ECHO_PORT, HTTP_PORT

ANSWER_S = 1.0
"""A probe that has no answer after this long is lost."""

_HEADER = struct.Struct("!Q")
_TELL_S = 0.2
_HTTP_S = 5.0


class Flow:
    """The probes from one source to one target; index is the sequence number."""

    def __init__(self, source: str, target: str) -> None:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        self.source = source
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((source, 0))
        self.socket.connect((target, ECHO_PORT))
        self.sent: list[float] = []
        self.answered: list[float | None] = []
        self.by: list[str | None] = []

    def send(self) -> None:
        """Send the next probe; one that cannot be sent is lost like any other."""
        self.sent.append(time.monotonic())
        self.answered.append(None)
        self.by.append(None)
        try:
            self.socket.send(_HEADER.pack(len(self.sent) - 1))
        except OSError:
            return

    def receive(self) -> None:
        """Take all answers that are there."""
        while True:
            try:
                answer = self.socket.recv(512)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error about an earlier probe; there may be answers behind it.
                continue
            now = time.monotonic()
            (number,) = _HEADER.unpack_from(answer)
            if self.answered[number] is None and now - self.sent[number] <= ANSWER_S:
                self.answered[number] = now
                self.by[number] = answer[_HEADER.size :].decode()

    def to_json(self) -> dict[str, object]:
        """All probes: when sent, when answered, by which address of a gateway."""
        return {
            "source": self.source,
            "sent": self.sent,
            "answered": self.answered,
            "by": self.by,
        }


def probe(flows: list[Flow], interval_s: float, result: Path) -> None:
    """Probe until SIGTERM, then write the result."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    poller = select.epoll()
    by_fd = {flow.socket.fileno(): flow for flow in flows}
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
    # The flows are spread over the interval, so that no burst of one is another's delay.
    due = [time.monotonic() + interval_s * n / len(flows) for n in range(len(flows))]
    tell_at = time.monotonic()
    end: float | None = None
    while end is None or time.monotonic() < end:
        if stopping and end is None:
            end = time.monotonic() + ANSWER_S
        now = time.monotonic()
        if end is None:
            for n, flow in enumerate(flows):
                if due[n] <= now:
                    flow.send()
                    # Behind by more than an interval: go on from here instead of in a burst.
                    due[n] = max(due[n] + interval_s, now - interval_s)
        if now >= tell_at:
            tell_at = now + _TELL_S
            _tell(flows, now)
        wait = (min(due) if end is None else end) - time.monotonic()
        for fd, _ in poller.poll(max(0.0, min(wait, _TELL_S))):
            by_fd[fd].receive()
    result.with_suffix(".part").write_text(json.dumps([flow.to_json() for flow in flows]))
    result.with_suffix(".part").rename(result)


def _tell(flows: list[Flow], now: float) -> None:
    """One line: probes sent, those surely lost, and who answered in the last moments."""
    sent = sum(len(flow.sent) for flow in flows)
    by: dict[str, int] = {}
    for flow in flows:
        for name in flow.by[-20:]:
            if name is not None:
                by[name] = by.get(name, 0) + 1
    print(json.dumps({"at": now, "sent": sent, "by": by}), flush=True)  # noqa: T201


def fetch(source: str, target: str) -> str | None:
    """The address that the outside host sees when asked from `source`; None without an answer."""
    connection = http.client.HTTPConnection(
        target, HTTP_PORT, timeout=_HTTP_S, source_address=(source, 0)
    )
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _pairs(arguments: list[str]) -> list[tuple[str, str]]:
    return [(source, target) for source, _, target in (each.partition("=") for each in arguments)]


def main() -> None:
    """Read the arguments and probe."""
    if sys.argv[1] == "http":
        answers = {source: fetch(source, target) for source, target in _pairs(sys.argv[2:])}
        print(json.dumps(answers))  # noqa: T201
        return
    flows = [Flow(source, target) for source, target in _pairs(sys.argv[4:])]
    probe(flows, float(sys.argv[2]) / 1000, Path(sys.argv[3]))


if __name__ == "__main__":
    main()
