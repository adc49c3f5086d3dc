"""Long TCP connections of one client to the outside host: which live on, and which are cut.

``python -m vegd.lab.connections COUNT INTERVAL_MS RESULT SOURCE=TARGET…`` keeps COUNT connections
from each source and asks on each again and again until SIGTERM, then writes RESULT. One that
breaks, or has no answer for `PATIENCE_S`, was cut; it is made anew. Times are CLOCK_MONOTONIC, in
seconds.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from pathlib import Path

from vegd.lab.topology import HTTP_PORT

PATIENCE_S = 15.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: outside\r\n\r\n"


class Connection:
    """One connection, as often as it has to be made."""

    def __init__(self, source: str, target: str) -> None:
        self._ends = source, target
        self.answers = 0
        self.seen_as: str | None = None
        """The external address that the outside has seen last."""
        self.made: list[float] = []
        """When it was made; all but the first after a cut or a failure."""
        self.cuts: list[tuple[float, float, str | None]] = []
        """Of each that was cut: when it was made, when the request was sent that had no answer, and
        as what the outside had seen it last."""

    async def keep(self, interval_s: float) -> None:
        """Ask for ever."""
        while True:
            try:
                await self._once(interval_s)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                await asyncio.sleep(interval_s)

    async def _once(self, interval_s: float) -> None:
        source, target = self._ends
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                target, HTTP_PORT, local_addr=(source, 0)
            )
        self.made.append(time.monotonic())
        try:
            while True:
                asked = time.monotonic()
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await self._ask(reader, writer)
                except Exception:
                    self.cuts.append((self.made[-1], asked, self.seen_as))
                    raise
                await asyncio.sleep(interval_s)
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_REQUEST)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        self.seen_as = (await reader.readexactly(length)).decode().strip()
        self.answers += 1

    def to_json(self) -> dict[str, object]:
        """What became of it."""
        return {
            "source": self._ends[0],
            "seen_as": self.seen_as,
            "answers": self.answers,
            "made": self.made,
            "cuts": self.cuts,
        }


async def keep(connections: list[Connection], interval_s: float) -> None:
    """Keep all of them until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.keep(interval_s)) for each in connections]
        with contextlib.suppress(asyncio.CancelledError):
            await stop.wait()
        for task in running:
            task.cancel()


def main() -> None:
    """Read the arguments, keep the connections, write what became of them."""
    count, interval_ms, result, *pairs = sys.argv[1:]
    ends = [each.partition("=")[::2] for each in pairs]
    connections = [Connection(*each) for each in ends for _ in range(int(count))]
    asyncio.run(keep(connections, float(interval_ms) / 1000))
    path = Path(result)
    path.with_suffix(".part").write_text(json.dumps([each.to_json() for each in connections]))
    path.with_suffix(".part").rename(path)


if __name__ == "__main__":
    main()
