"""The observer's process: its options, its parts, and in which order they end.

It stays up with a configuration that cannot be used and collects nothing then: a container that
dies makes the pod unready, and the gateway's traffic does not depend on being observed.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bfd import logs
from dataplane.conntrack_events import counts
from vegd import web
from vegd.document import Refusal
from vegd.errors import UsageError, VegdError
from vegd.exposition import CONTENT_TYPE
from vegd.faults import Fault
from vegd.observer import interfaces
from vegd.observer.book import FlowBook
from vegd.observer.client import PORT
from vegd.observer.collector import RECEIVE_BYTES, Collector
from vegd.observer.config import Config, Conntrack, parse
from vegd.observer.flowlog import FlowLog
from vegd.observer.interfaces import Interface, InterfacesUnknown
from vegd.observer.metrics import Reading, exposition
from vegd.observer.records import Identity
from vegd.observer.writer import RecordWriter
from vegd.texts import Listen, read_listen
from vegd.web import Answer

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_FLUSH_S = 3.0
_SMALLEST_BUFFER = 4096
"""Room for some messages; with less they would all be lost."""


class Observer:
    """Everything but the command line."""

    def __init__(self, options: argparse.Namespace, writer: RecordWriter) -> None:
        self._options = options
        self._writer = writer
        self._log = FlowLog(writer)
        self._book = FlowBook()
        self._collector = Collector(self._book, self._log, options.receive_buffer)
        self._content: bytes | None = None
        self._config: Config | None = None
        self._identity = Identity(
            pod=os.environ.get("POD_NAME", ""), node=os.environ.get("NODE_NAME", "")
        )
        self._reloads = Counter({"success": 0, "error": 0})
        self._interface_errors = 0
        self._interface_problem = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Observe until then. Raises VegdError."""
        async with self._serving(), asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(self._collector.run()), tasks.create_task(self._follow())]
            await stop.wait()
            for task in work:
                task.cancel()

    async def _follow(self) -> None:
        """The configuration, for ever."""
        while True:
            self._look()
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        path = self._options.config
        try:
            content, read = path.read_bytes(), None
        except OSError as exc:
            problem = f"cannot be read ({exc.strerror})"
            content, read = problem.encode(), (Fault("", "", problem, "mount the ConfigMap there"),)
        if content == self._content:
            return
        self._content = content
        config = read or parse(content)
        if isinstance(config, Config):
            self._reloads["success"] += 1
            self._take(config)
            return
        self._reloads["error"] += 1
        for fault in config:
            log.error("--config %s: %s", path, fault)
        if self._config is not None:
            log.error("--config %s: the configuration before stays in force", path)

    def _take(self, config: Config) -> None:
        log.info("configuration of %s/%s is in force", config.namespace, config.name)
        self._config = config
        self._identity = self._identity._replace(namespace=config.namespace, name=config.name)
        self._log.configure(config.observability.conntrack.log, self._identity)
        self._collector.switch(on=config.tracks)
        if config.tracks and not counts():
            log.warning(
                "net.netfilter.nf_conntrack_acct is 0, so there are no packets and bytes of "
                "connections; set it to 1 in this network namespace, as vegd init does"
            )

    def _interfaces(self) -> tuple[Interface, ...]:
        """Of the two, if that is asked for; none if they cannot be read."""
        if self._config is None or not self._config.observability.interface_metrics.enabled:
            return ()
        try:
            found = interfaces.read(self._options.network_status, self._config.external_network)
            problem = ""
        except (InterfacesUnknown, OSError) as exc:
            self._interface_errors += 1
            found, problem = (), str(exc)
        if problem not in {"", self._interface_problem}:
            log.warning("%s", problem)
        self._interface_problem = problem
        return found

    async def _metrics(self) -> Answer:
        found = self._interfaces()
        conntrack = Conntrack() if self._config is None else self._config.observability.conntrack
        errors = {("conntrack", key): value for key, value in self._collector.errors.items()}
        reading = Reading(
            identity=self._identity,
            collectors={"interface": bool(found), "conntrack": self._collector.is_up},
            errors={**errors, ("interface", "collect"): self._interface_errors},
            reloads=self._reloads,
            events=self._collector.events,
            written=self._writer.written,
            drops=self._writer.drops,
            book=self._book,
            counts_bytes=counts(),
            shows_flows=conntrack.metrics.enabled,
            interfaces=found,
        )
        return Answer(200, exposition(reading), CONTENT_TYPE)

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async def healthz() -> Answer:
            return Answer.text("ok\n")

        listen: Listen = self._options.listen_address
        server = web.Server({"/metrics": {"GET": self._metrics}, "/healthz": {"GET": healthz}})
        try:
            listener = await asyncio.start_server(server.accept, listen.host or None, listen.port)
        except OSError as exc:
            raise VegdError(
                f"--listen-address {listen}: cannot be listened on ({exc.strerror}); free the port "
                "or name another one"
            ) from exc
        try:
            yield
        finally:
            listener.close()
            await server.aclose()


def run(arguments: Sequence[str]) -> None:
    """Observe until SIGTERM. Raises VegdError."""
    options = _parser().parse_args(arguments)
    listen = read_listen(options.listen_address)
    if isinstance(listen, Refusal):
        raise UsageError(
            f"--listen-address {options.listen_address!r} {listen.problem}; {listen.remedy}"
        )
    options.listen_address = listen
    if options.receive_buffer < _SMALLEST_BUFFER:
        raise UsageError(
            f"--receive-buffer {options.receive_buffer} is too small; give at least "
            f"{_SMALLEST_BUFFER}"
        )
    logs.configure()
    writer = RecordWriter(sys.stdout.fileno())
    try:
        asyncio.run(_until_signal(Observer(options, writer)))
    finally:
        if left := writer.close(_FLUSH_S):
            log.warning("%d flow records were not written: nobody reads standard output", left)


async def _until_signal(observer: Observer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await observer.run(stop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vegd observe",
        description="Write flow logs to standard output, and serve metrics of a gateway pod.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="JSON; followed while it runs"
    )
    parser.add_argument(
        "--network-status",
        type=Path,
        required=True,
        metavar="FILE",
        help="Multus' annotation of the pod, which names the interfaces",
    )
    parser.add_argument(
        "--listen-address",
        default=f":{PORT}",
        metavar="HOST:PORT",
        help="of /metrics and /healthz (default: %(default)s)",
    )
    parser.add_argument(
        "--receive-buffer",
        type=int,
        default=RECEIVE_BYTES,
        metavar="BYTES",
        help="for events that wait to be read (default: %(default)s)",
    )
    parser.add_argument(
        "--health-check", action="store_true", help="ask the running observer, and exit with 0 or 1"
    )
    return parser
