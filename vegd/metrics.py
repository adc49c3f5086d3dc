"""The Prometheus exposition, made from snapshots at the moment of the scrape.

Nothing is counted here: the engine and the kernel count, this module gives their numbers names.
Every name stands in docs/metrics.md. Times are in seconds, as Prometheus wants them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bfd import snapshot
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from dataplane.kernel import ConntrackUsage, PolicyCounter
from dataplane.model import GatewayIntent
from dataplane.statistics import InterfaceStatistics
from vegd import __version__
from vegd.census import Taken
from vegd.control import ReconcileCounters
from vegd.exposition import Counter, Family, Gauge, Histogram, page, process_families
from vegd.metrics_dataplane import dataplane_metrics
from vegd.metrics_interfaces import interface_metrics
from vegd.metrics_ports import port_metrics
from vegd.paths import Path
from vegd.status import GatewayStatus

_SESSION = ("local", "peer", "interface", "kind")
_POLICY = ("policy", "direction", "family")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scrape shows."""

    status: GatewayStatus
    reconciles: ReconcileCounters
    announcements: Mapping[int, int]
    """Sent to neighbours, by IP version."""
    failed_announcements: int
    engine: EngineSnapshot | None
    engine_restarts: int
    policies: tuple[PolicyCounter, ...]
    paths: tuple[Path, ...]
    conntrack: ConntrackUsage | None
    census: Taken | None
    intent: GatewayIntent | None
    interfaces: tuple[InterfaceStatistics, ...]
    fixed: Collection[str] = ()
    """Kernel parameters that are not as wished and cannot be set by the agent."""


def exposition(reading: Reading) -> bytes:
    """The text of ``/metrics``."""
    return page((*families(reading), *process_families()))


def families(reading: Reading) -> Iterator[Family]:
    """The gateway's metrics; those of the process are not among them."""
    yield from _gateway(reading)
    yield from _announcements(reading)
    yield from _snat(reading)
    yield from interface_metrics(reading.interfaces)
    yield from _paths(reading.paths)
    yield from port_metrics(reading.census, reading.intent)
    if reading.engine is not None:
        yield from _engine(reading.engine)
        yield from _sessions(reading.engine.sessions)


def _gauge(name: str, text: str, value: float) -> Gauge:
    return Gauge(name, text, value=value)


def _gateway(reading: Reading) -> Iterator[Family]:
    status = reading.status
    info = Gauge("vegd_build_info", "The version of vegd.", labels=["version"])
    info.add([__version__], 1)
    yield info
    yield _gauge("vegd_ready", "Whether the gateway is ready (1) or not (0).", status.is_ready)
    yield _gauge(
        "vegd_config_generation", "Generation of the configuration in force.", status.generation
    )
    yield _gauge(
        "vegd_config_faults",
        "Faults of a newer configuration that is therefore not in force.",
        len(status.config_faults),
    )
    if status.revision is not None:
        yield _gauge(
            "vegd_config_revision",
            "Revision of the configuration that was last carried out.",
            status.revision,
        )
    if status.watcher_contact_s is not None:
        yield _gauge(
            "vegd_watcher_contact_age_seconds",
            "Time since the watcher last heard from the API server.",
            status.watcher_contact_s,
        )
    yield from dataplane_metrics(status, reading.reconciles, reading.fixed)
    yield _gauge("vegd_draining", "Whether a drain goes on.", status.drain is not None)
    if status.drain is not None:
        yield _gauge(
            "vegd_drain_quiet_seconds",
            "Time since the last packet was forwarded during the drain.",
            status.drain.quiet_s,
        )
    yield _gauge(
        "vegd_bfd_engine_up", "Whether the BFD engine answers.", reading.engine is not None
    )
    yield Counter(
        "vegd_bfd_engine_restarts",
        "How often the agent had to start the BFD engine again.",
        value=reading.engine_restarts,
    )


def _announcements(reading: Reading) -> Iterator[Family]:
    sent = Counter(
        "vegd_neighbour_announcements",
        "Gratuitous ARP and unsolicited NA sent for external addresses.",
        labels=["family"],
    )
    for version in (4, 6):
        sent.add([f"ipv{version}"], reading.announcements.get(version, 0))
    yield sent
    yield Counter(
        "vegd_neighbour_announcements_failed",
        "Rounds of announcements that the kernel refused to send.",
        value=reading.failed_announcements,
    )


def _snat(reading: Reading) -> Iterator[Family]:
    packets = Counter(
        "vegd_policy_packets", "Packets forwarded under an egress policy.", labels=_POLICY
    )
    octets = Counter("vegd_policy_bytes", "Bytes forwarded under an egress policy.", labels=_POLICY)
    for each in reading.policies:
        labels = [each.policy, each.direction, f"ipv{each.family}"]
        packets.add(labels, each.packets)
        octets.add(labels, each.bytes)
    yield packets
    yield octets
    if reading.conntrack is not None:
        yield _gauge(
            "vegd_conntrack_entries",
            "Connections tracked in this network namespace.",
            reading.conntrack.entries,
        )
        yield _gauge(
            "vegd_conntrack_entries_limit",
            "The most connections the kernel tracks here.",
            reading.conntrack.maximum,
        )
        yield Counter(
            "vegd_conntrack_insert_failures",
            "Connections that found no place in the table, for want of a free port for instance.",
            value=reading.conntrack.insert_failures,
        )
        yield Counter(
            "vegd_conntrack_drops",
            "Packets dropped because the table was full.",
            value=reading.conntrack.drops,
        )
        yield Counter(
            "vegd_conntrack_early_drops",
            "Connections given up before their time to make room.",
            value=reading.conntrack.early_drops,
        )


def _paths(paths: Iterable[Path]) -> Iterator[Family]:
    up = Gauge(
        "vegd_path_up", "Whether the probes of a family reach the outside.", labels=["family"]
    )
    withdrawn = Gauge(
        "vegd_path_withdrawn",
        "Whether the sessions of a family are down because of its probes.",
        labels=["family"],
    )
    labels = ["family", "target"]
    target = Gauge("vegd_probe_up", "Whether a target answers.", labels=labels)
    seconds = Gauge(
        "vegd_probe_duration_seconds", "How long the newest answer took.", labels=labels
    )
    answered = Counter("vegd_probe_answers", "Probes with an answer.", labels=labels)
    failed = Counter("vegd_probe_failures", "Probes without one.", labels=labels)
    for path in paths:
        family = f"ipv{path.version}"
        if path.streaks:
            up.add([family], not path.reasons)
            withdrawn.add([family], path.withdrawn_at is not None)
        for each in path.streaks:
            names = [family, each.name]
            target.add(names, each.up)
            answered.add(names, each.answered)
            failed.add(names, each.failed)
            if each.last_s is not None:
                seconds.add(names, each.last_s)
    yield from (up, withdrawn, target, seconds, answered, failed)


def _engine(engine: EngineSnapshot) -> Iterator[Family]:
    yield Counter(
        "vegd_bfd_stalls",
        "Wake-ups of the engine later than half the shortest interval.",
        value=engine.stalls,
    )
    yield Counter(
        "vegd_bfd_stalled_seconds",
        "How late these wake-ups were, added up.",
        value=engine.stalled_us / 1_000_000,
    )
    yield _gauge(
        "vegd_bfd_longest_stall_seconds",
        "The latest of these wake-ups since the engine was started.",
        engine.longest_stall_us / 1_000_000,
    )
    yield from _processor(engine)
    overflows = Counter(
        "vegd_bfd_receive_overflows",
        "Packets that found no room in a receive buffer (SO_RXQ_OVFL), by socket.",
        labels=["socket"],
    )
    for socket, count in sorted(engine.overflows.items()):
        overflows.add([socket], count)
    yield overflows
    yield _histogram(
        "vegd_bfd_transmit_lateness_seconds",
        "How late periodic packets were sent.",
        engine.transmit_lateness,
    )
    yield _histogram(
        "vegd_bfd_detection_lateness_seconds",
        "How late the expiry of a detection time was judged.",
        engine.detection_lateness,
    )
    unclaimed = Counter(
        "vegd_bfd_unclaimed_packets_dropped",
        "Received packets dropped that belong to no session, by reason.",
        labels=["reason"],
    )
    for reason, count in sorted(engine.discards.items()):
        unclaimed.add([reason], count)
    yield unclaimed
    yield _gauge(
        "vegd_bfd_unsolicited_sessions",
        "Sessions that peers have begun without being configured.",
        sum(each.config.unsolicited for each in engine.sessions),
    )
    yield _gauge(
        "vegd_bfd_key_faults",
        "Key files that cannot be used, so that their sessions keep the keys of before.",
        len(engine.key_faults),
    )


def _processor(engine: EngineSnapshot) -> Iterator[Family]:
    """What the engine was granted and denied; what the kernel does not tell is left out."""
    granted = Gauge(
        "vegd_bfd_engine_info",
        "What the engine was granted.",
        labels=["scheduling", "memory"],
    )
    granted.add([engine.scheduling, engine.memory], 1)
    yield granted
    if engine.cpu_limit is not None:
        yield _gauge(
            "vegd_bfd_cpu_limit", "CPU quota of the engine, in processors.", engine.cpu_limit
        )
    vitals = engine.vitals
    counters = (
        (
            "vegd_bfd_throttled_periods",
            "Periods in which the CPU quota was used up.",
            vitals.throttled_periods,
        ),
        (
            "vegd_bfd_throttled_seconds",
            "How long the CPU quota denied processors, added up over them.",
            _seconds(vitals.throttled_us),
        ),
        (
            "vegd_bfd_processor_wait_seconds",
            "How long the engine was ready to run and had no processor.",
            _seconds(vitals.waited_us),
        ),
    )
    for name, text, value in counters:
        if value is not None:
            yield Counter(name, text, value=value)


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1_000_000


def _histogram(name: str, text: str, histogram: snapshot.Histogram) -> Histogram:
    bounds = [bound / 1_000_000 for bound in histogram.bounds_us]
    return Histogram(name, text, bounds, histogram.counts, histogram.sum_us / 1_000_000)


def _sessions(sessions: Iterable[SessionSnapshot]) -> Iterator[Family]:
    gauges = {
        "state": "State of the session: 0 AdminDown, 1 Down, 2 Init, 3 Up.",
        "back_off": "How many times slower than configured, because packets were lost.",
        "held_seconds": "How long dampening is still to hold the session down.",
        "remote_state": "State that the peer has announced, numbered alike.",
        "detection_time_seconds": "Silence after which the peer is given up, in use.",
        "transmit_interval_seconds": "Interval between our packets before jitter, in use.",
        "remote_transmit_interval_seconds": "Desired Min TX Interval of the peer.",
        "remote_receive_interval_seconds": "Required Min RX Interval of the peer.",
        "remote_detect_multiplier": "Detect Mult of the peer.",
    }
    counters = {
        "transitions": "Changes of the session's state.",
        "holds": "How often dampening has held the session down.",
        "packets_received": "Control packets accepted.",
        "packets_sent": "Control packets sent.",
    }
    families: dict[str, Family] = {
        name: Gauge(f"vegd_bfd_session_{name}", text, labels=_SESSION)
        for name, text in gauges.items()
    }
    families |= {
        name: Counter(f"vegd_bfd_session_{name}", text, labels=_SESSION)
        for name, text in counters.items()
    }
    dropped = Counter(
        "vegd_bfd_session_packets_dropped",
        "Control packets refused, by reason.",
        labels=[*_SESSION, "reason"],
    )
    unsent = Counter(
        "vegd_bfd_session_packets_not_sent",
        "Control packets that the kernel refused to send, by error.",
        labels=[*_SESSION, "error"],
    )
    for each in sessions:
        key = each.key
        kind = "multihop" if key.multihop else "single-hop"
        labels = [key.local, key.peer, key.interface, kind]
        for name, value in _values(each).items():
            families[name].add(labels, value)
        for reason, count in sorted(each.discards.items()):
            dropped.add([*labels, reason], count)
        for error, count in sorted(each.send_errors.items()):
            unsent.add([*labels, error], count)
    yield from families.values()
    yield dropped
    yield unsent


def _values(session: SessionSnapshot) -> dict[str, float]:
    return {
        "state": session.state,
        "remote_state": session.remote_state,
        "detection_time_seconds": session.detection_time_us / 1_000_000,
        "transmit_interval_seconds": session.tx_interval_us / 1_000_000,
        "remote_transmit_interval_seconds": session.remote_desired_min_tx_us / 1_000_000,
        "remote_receive_interval_seconds": session.remote_min_rx_us / 1_000_000,
        "remote_detect_multiplier": session.remote_detect_mult,
        "back_off": session.back_off,
        "held_seconds": session.held_us_left / 1_000_000,
        "transitions": session.transitions,
        "holds": session.holds,
        "packets_received": session.rx_packets,
        "packets_sent": session.tx_packets,
    }
