"""What the engine looks like at one moment, as plain values that travel as JSON.

Everything here is immutable and knows how to become a JSON object (`to_json`) and how to be read
back (`from_json`, which raises KeyError, TypeError or ValueError on anything else). `describe`
makes the snapshot of a live session. Times of one session are microseconds; moments are seconds
of the wall clock, because only people and other programs read them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from bfd.auth import AuthConfig
from bfd.config import SessionConfig, SessionKey
from bfd.dampening import Dampening
from bfd.fsm import Diagnostic, State
from bfd.lateness import BOUNDS_US, Lateness
from bfd.negotiation import Poll
from bfd.override import Override
from bfd.packet import Discard
from bfd.session import Session
from bfd.vitals import Vitals

Json = dict[str, Any]


def config_to_json(config: SessionConfig) -> Json:
    """A configuration as a JSON object; `config_from_json` reads it back, but for the secrets."""
    return {
        "local": config.key.local,
        "peer": config.key.peer,
        "interface": config.key.interface,
        "multihop": config.key.multihop,
        "desired_min_tx_us": config.desired_min_tx_us,
        "required_min_rx_us": config.required_min_rx_us,
        "detect_mult": config.detect_mult,
        "min_ttl": config.min_ttl,
        "back_off": config.back_off,
        "unsolicited": config.unsolicited,
        "passive": config.passive,
        "enabled": config.enabled,
        "disabled_diag": int(config.disabled_diag),
        "auth": config.auth and config.auth.to_json(),
        "dampening": config.dampening and asdict(config.dampening),
    }


def config_from_json(document: Json) -> SessionConfig:
    """The configuration in a JSON object. Raises ValueError that names what is wrong."""
    rest = dict(document)
    try:
        key = SessionKey(
            rest.pop("local"),
            rest.pop("peer"),
            rest.pop("interface", ""),
            rest.pop("multihop", False),
        )
    except KeyError as missing:
        raise ValueError(
            f"{missing.args[0]}: missing; a session has a local and a peer address"
        ) from None
    if "disabled_diag" in rest:
        try:
            rest["disabled_diag"] = Diagnostic(rest["disabled_diag"])
        except ValueError:
            raise ValueError(
                f"disabled_diag: {rest['disabled_diag']!r} is no diagnostic; use 0 to 8"
            ) from None
    if rest.get("auth") is not None:
        rest["auth"] = AuthConfig.from_json(rest["auth"])
    if isinstance(rest.get("dampening"), dict):
        rest["dampening"] = _known(Dampening, rest["dampening"], f"session {key}: dampening")
    return _known(SessionConfig, rest, f"session {key}", key=key)


T = TypeVar("T", SessionConfig, Dampening)


def _known(kind: type[T], document: Json, what: str, **more: Any) -> T:
    """An instance from a JSON object, or ValueError that names the field that it does not have."""
    try:
        return kind(**document, **more)
    except TypeError:
        known = set(kind.__dataclass_fields__)
        unknown = ", ".join(sorted(set(document) - known)) or "a value of the wrong type"
        raise ValueError(f"{what}: unknown field or type: {unknown}") from None


def key_from_json(document: object) -> SessionKey:
    """The key in a JSON object of its fields. Raises ValueError that says what is wrong."""
    try:
        key = SessionKey(**document)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"session: {document!r} is no key of a session; it has the fields "
            f"{', '.join(SessionKey._fields)}"
        ) from None
    try:
        hash(key)
    except TypeError:
        raise ValueError(f"session: {document!r} has a field of the wrong type") from None
    return key


@dataclass(frozen=True, slots=True)
class StateChange:
    """The last change of a session's state."""

    at: float
    """Seconds since 1970."""
    old: State
    new: State
    diag: Diagnostic
    reason: str

    def to_json(self) -> Json:
        """As a JSON object; enumerations by number."""
        return {
            "at": self.at,
            "old": int(self.old),
            "new": int(self.new),
            "diag": int(self.diag),
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, document: Json) -> "StateChange":
        """Read back what `to_json` made."""
        return cls(
            document["at"],
            State(document["old"]),
            State(document["new"]),
            Diagnostic(document["diag"]),
            document["reason"],
        )


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One session. `tx_interval_us` and `detection_time_us` are those in use, the `remote_…` times
    those that the peer has announced."""

    key: SessionKey
    config: SessionConfig
    """In force: as committed, with the override laid over it."""
    override: Override
    """What an operator has laid over it; empty as a rule."""
    state: State
    remote_state: State
    local_discr: int
    remote_discr: int
    local_diag: Diagnostic
    remote_diag: Diagnostic
    remote_desired_min_tx_us: int
    remote_min_rx_us: int
    remote_detect_mult: int
    tx_interval_us: int
    detection_time_us: int
    polling: bool
    auth_in_use: bool
    """Whether packets are sent, and have to be received, with authentication at present."""
    rx_packets: int
    tx_packets: int
    discards: Mapping[str, int]
    send_errors: Mapping[str, int]
    """Packets that the kernel refused to send, by the name of the error."""
    refused: Mapping[str, int]
    """Packets refused since the last accepted one, by reason; unlike `discards` also those that
    named a wrong discriminator of ours, if they came from the peer's address."""
    refused_ttl: int | None
    """TTL or hop limit of the last packet that was refused for it."""
    remote_sees_us: bool
    """Whether the peer's last packet named our discriminator."""
    age_us: int
    """How long the session has existed."""
    transitions: int
    back_off: int
    """How many times slower than configured it is, because packets were lost; 1 is not at all."""
    holds: int
    """How often dampening has held it down."""
    held_us_left: int
    """How long it is still to be held down, unless it becomes the last of its family; else 0."""
    heard_us_ago: int | None
    last_change: StateChange | None

    def to_json(self) -> Json:
        """As a JSON object of less than 4 kB."""
        document: Json = {name: getattr(self, name) for name in _PLAIN}
        document |= {name: int(getattr(self, name)) for name in _NUMBERED}
        document |= {name: dict(getattr(self, name)) for name in _COUNTERS}
        document["config"] = config_to_json(self.config)
        document["override"] = self.override.to_json()
        document["last_change"] = self.last_change and self.last_change.to_json()
        return document

    @classmethod
    def from_json(cls, document: Json) -> "SessionSnapshot":
        """Read back what `to_json` made."""
        config = config_from_json(document["config"])
        change = document["last_change"]
        return cls(
            key=config.key,
            config=config,
            override=Override.from_json(document["override"]),
            last_change=None if change is None else StateChange.from_json(change),
            **{name: document[name] for name in _PLAIN},
            state=State(document["state"]),
            remote_state=State(document["remote_state"]),
            local_diag=Diagnostic(document["local_diag"]),
            remote_diag=Diagnostic(document["remote_diag"]),
            discards=dict(document["discards"]),
            send_errors=dict(document["send_errors"]),
            refused=dict(document["refused"]),
        )


_NUMBERED = ("state", "remote_state", "local_diag", "remote_diag")
_COUNTERS = ("discards", "send_errors", "refused")
_PLAIN = tuple(
    name
    for name in SessionSnapshot.__dataclass_fields__
    if name not in {"key", "config", "override", "last_change", *_NUMBERED, *_COUNTERS}
)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per bucket, not cumulative: one per upper bound, and one for what is above."""

    bounds_us: tuple[int, ...]
    counts: tuple[int, ...]
    sum_us: int

    @classmethod
    def of(cls, lateness: Lateness) -> "Histogram":
        """The counts so far."""
        return cls(BOUNDS_US, tuple(lateness.counts), lateness.sum_us)

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "bounds_us": list(self.bounds_us),
            "counts": list(self.counts),
            "sum_us": self.sum_us,
        }

    @classmethod
    def from_json(cls, document: Json) -> "Histogram":
        """Read back what `to_json` made."""
        return cls(tuple(document["bounds_us"]), tuple(document["counts"]), document["sum_us"])


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The whole engine."""

    generation: int
    """The number that came with the session set in force; 0 before the first."""
    pid: int
    started_at: float
    """Seconds since 1970."""
    sessions: tuple[SessionSnapshot, ...]
    discards: Mapping[str, int]
    """Packets that belong to no session."""
    transmit_lateness: Histogram
    detection_lateness: Histogram
    stalls: int
    """How often the engine woke later than half an interval: its own fault or its machine's."""
    longest_stall_us: int
    stalled_us: int
    """All stalls together."""
    overflows: Mapping[str, int]
    """Packets that found no room in a receive buffer, by socket."""
    vitals: Vitals
    cpu_limit: float | None
    """CPU quota in processors; None without one."""
    memory: str
    """Whether the memory is locked, or why not."""
    log_lines_lost: int
    key_faults: tuple[str, ...]
    """Key files that cannot be used, in sentences: the sessions named go on with the keys of
    before, or wait if they had none."""
    idle_overrides: tuple[SessionKey, ...]
    """Sessions that are not in the set and would have an override; the first few of them."""
    scheduling: str
    draining: bool

    def to_json(self) -> Json:
        """As a JSON object, the sessions within."""
        return self.head_to_json() | {"sessions": [s.to_json() for s in self.sessions]}

    def head_to_json(self) -> Json:
        """As a JSON object without the sessions, which travel in pages."""
        return {
            "discards": dict(self.discards),
            "transmit_lateness": self.transmit_lateness.to_json(),
            "detection_lateness": self.detection_lateness.to_json(),
            **{name: getattr(self, name) for name in _HEAD},
            "overflows": dict(self.overflows),
            "vitals": self.vitals._asdict(),
            "key_faults": list(self.key_faults),
            "idle_overrides": [key._asdict() for key in self.idle_overrides],
        }

    @classmethod
    def from_json(cls, document: Json) -> "EngineSnapshot":
        """Read back what `to_json` made."""
        return cls(
            **{name: document[name] for name in _HEAD},
            sessions=tuple(SessionSnapshot.from_json(s) for s in document["sessions"]),
            discards=dict(document["discards"]),
            transmit_lateness=Histogram.from_json(document["transmit_lateness"]),
            detection_lateness=Histogram.from_json(document["detection_lateness"]),
            overflows=dict(document["overflows"]),
            vitals=Vitals(**document["vitals"]),
            key_faults=tuple(document["key_faults"]),
            idle_overrides=tuple(key_from_json(each) for each in document["idle_overrides"]),
        )


_HEAD = tuple(
    name
    for name in EngineSnapshot.__dataclass_fields__
    if name
    not in {
        "sessions",
        "discards",
        "transmit_lateness",
        "detection_lateness",
        "overflows",
        "vitals",
        "key_faults",
        "idle_overrides",
    }
)


def label_discards(counts: list[int]) -> dict[str, int]:
    """Counters by name; those that never counted are left out."""
    return {why.label: counts[why] for why in Discard if counts[why]}


def describe(
    session: Session, now_us: int, now_unix_s: float, override: Override | None = None
) -> SessionSnapshot:
    """A snapshot of a live session. The two clocks must be read together."""
    change = session.last_change
    return SessionSnapshot(
        key=session.key,
        config=session.config,
        override=override or Override(),
        state=session.state,
        remote_state=session.remote_state,
        local_discr=session.local_discr,
        remote_discr=session.remote_discr,
        local_diag=session.local_diag,
        remote_diag=session.remote_diag,
        remote_desired_min_tx_us=session.remote_desired_min_tx_us,
        remote_min_rx_us=session.remote_min_rx_us,
        remote_detect_mult=session.remote_detect_mult,
        tx_interval_us=session.tx_interval_us,
        detection_time_us=session.detection_time_us,
        polling=session.negotiation.poll is not Poll.IDLE,
        auth_in_use=session.authentication is not None and session.authentication.in_use,
        rx_packets=session.rx_packets,
        tx_packets=session.tx_packets,
        discards=label_discards(session.discards),
        send_errors=dict(session.send_errors),
        refused=session.losses.refused(session.heard_us),
        refused_ttl=session.losses.ttl,
        remote_sees_us=session.remote_sees_us,
        age_us=now_us - session.created_us,
        transitions=session.transitions,
        back_off=session.back_off.factor,
        holds=session.damper.holds,
        held_us_left=max(0, session.damper.held_until_us - now_us),
        heard_us_ago=None if session.heard_us is None else now_us - session.heard_us,
        last_change=None
        if change is None
        else StateChange(
            at=round(now_unix_s - (now_us - change.at_us) / 1_000_000, 6),
            old=change.old,
            new=change.new,
            diag=change.diag,
            reason=change.reason,
        ),
    )
