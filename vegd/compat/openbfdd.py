"""The lines of ``bfdd-control`` and OpenBFDD's texts for them.

Kube-OVN's scripts and people match these texts. An answer that begins with one of `FAILURES` means
that nothing was done; every refusal here does, also where OpenBFDD has another wording.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from bfd.config import SessionKey, check_interval
from bfd.fsm import Diagnostic, State
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from vegd.compat.wishes import Wishes, address

FAILURES = ("Unable to complete ", "Unknown command ", "No session ", "Failed to ", "Must ")

STATES = {
    State.ADMIN_DOWN: "AdminDown",
    State.DOWN: "Down",
    State.INIT: "Init",
    State.UP: "Up",
}
_UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_WHICH = "'all', session id or 'remote ip local ip'"


class Reply(NamedTuple):
    """What is answered, and what is wanted from now on."""

    text: str
    wishes: Wishes


class _Refused(Exception):
    """Nothing is done; the message is the answer."""


def is_failure(text: str) -> bool:
    """Whether an answer says that nothing was done."""
    return text.startswith(FAILURES)


def command(
    words: Sequence[str], wishes: Wishes, engine: EngineSnapshot | None, now: float
) -> Reply:
    """Answer one line; `engine` is None when it does not answer. `now` is seconds since 1970."""
    try:
        return _obey(words, wishes, engine, now)
    except _Refused as refusal:
        return Reply(str(refusal), wishes)
    except ValueError as exc:
        return Reply(f"Unable to complete request: {exc}", wishes)


def _obey(words: Sequence[str], wishes: Wishes, engine: EngineSnapshot | None, now: float) -> Reply:
    match words:
        case ["status", *rest]:
            return Reply(_status(rest, wishes, engine, now), wishes)
        case ["allow", *rest]:
            peer = _address(rest)
            return Reply(f"Allowing connections from {peer}", wishes.allow(peer))
        case ["block", *rest]:
            peer = _address(rest)
            text = "This will not terminate any ongoing session."
            return Reply(f"Blocking connections from {peer}. {text}", wishes.block(peer))
        case ["session", *rest]:
            return _session(rest, wishes)
        case ["log", *rest]:
            return _log(rest, wishes)
        case [other, *_]:
            raise _Refused(f"Unknown command <{other}>")
    raise _Refused("Must supply a command.")


def _address(words: Sequence[str]) -> str:
    if not words:
        raise _Refused("Must supply an IPv4 or IPv6 address.")
    try:
        return address(words[0])
    except ValueError:
        raise _Refused(f"Must supply an IPv4 or IPv6 address: <{words[0]}> is none.") from None


def _log(words: Sequence[str], wishes: Wishes) -> Reply:
    match words:
        case ["type", "command", "yes" | "no" as word]:
            was = "yes" if wishes.log_commands else "no"
            text = f"Log type command set to {word}, was {was}"
            return Reply(text, replace(wishes, log_commands=word == "yes"))
    raise _Refused("Unable to complete request: of the log only 'type command yes|no' can be set.")


def _session(words: Sequence[str], wishes: Wishes) -> Reply:
    if not words:
        raise _Refused(f"Must supply 'new', {_WHICH}.")
    if words[0] == "new":
        return _set_new(words[1:], wishes)
    keys, rest = _select(words, wishes)
    match rest:
        case ["reset"]:
            return Reply("Attempting to reset session(s).", wishes.begin(keys))
        case ["kill"]:
            return Reply("Attempting to kill session(s).", wishes.kill(keys))
        case []:
            raise _Refused("Must supply session action: 'kill' or 'reset'.")
    raise _Refused(
        f"Unable to complete request: the session action <{' '.join(rest)}> is not known here; "
        "'vegd sessions --help' has others."
    )


def _set_new(words: Sequence[str], wishes: Wishes) -> Reply:
    match words:
        case ["set", "mintx" | "minrx" as name, value, unit]:
            time_us = _time_us(name, value, unit)
            check_interval(name, time_us, zero=False)
            field = {"mintx": "min_tx_us", "minrx": "min_rx_us"}[name]
            new = wishes.new._replace(**{field: time_us})
            text = f"Attempting to set {name} to {time_us:,} us."
        case ["set", "mintx" | "minrx", value]:
            raise _Refused(f"Must supply a unit after the value {value}: 's', 'ms' or 'us'")
        case ["set", "multi", value]:
            multiplier = _number(value)
            if multiplier is None or not 1 <= multiplier <= 255:
                raise _Refused(f"Must supply a number from 1 to 255 for 'set multi': <{value}>.")
            new = wishes.new._replace(detect_mult=multiplier)
            text = f"Attempting to set multi to {multiplier}."
        case _:
            raise _Refused("Must supply item to set: 'mintx', 'minrx' or 'multi', and its value.")
    return Reply(text, replace(wishes, new=new))


def _time_us(name: str, value: str, unit: str) -> int:
    number, factor = _number(value), _UNITS_US.get(unit)
    if number is None:
        raise _Refused(f"Must supply an integer and a unit for 'set {name}': <{value}>.")
    if factor is None:
        raise _Refused(f"Must supply a unit after the value {value}: 's', 'ms' or 'us'")
    return number * factor


def _number(text: str) -> int | None:
    """A natural number of not too many digits, or None."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


def _select(words: Sequence[str], wishes: Wishes) -> tuple[tuple[SessionKey, ...], Sequence[str]]:
    """The sessions that are meant, and the words after."""
    match words:
        case ["all", *rest]:
            return tuple(wishes.sessions), rest
        case ["remote", remote, "local", local, *rest] | ["local", local, "remote", remote, *rest]:
            key = SessionKey(_address([local]), _address([remote]))
            if key not in wishes.sessions:
                raise _Refused(f"No session with local ip={key.local} and remote ip={key.peer}.")
            return (key,), rest
        case [text, *rest] if (number := _number(text)) is not None:
            for key, each in wishes.sessions.items():
                if each.number == number:
                    return (key,), rest
            raise _Refused(f"No session with id={number}.")
    raise _Refused(f"Must supply {_WHICH}. Unknown <{' '.join(words)}>.")


def _status(words: Sequence[str], wishes: Wishes, engine: EngineSnapshot | None, now: float) -> str:
    everything = not words or words[0] == "all"
    keys, rest = _select(words or ["all"], wishes)
    level, brief, compact = _manner(rest, compact=not words)
    if engine is None:
        raise _Refused("Unable to complete request because the BFD engine does not answer.")
    shown = sorted(
        (wishes.sessions[each.key].number, each) for each in engine.sessions if each.key in keys
    )
    if not everything and not shown:
        raise _Refused(f"No session with local ip={keys[0].local} and remote ip={keys[0].peer}.")
    joint = " " if compact else "\n "
    texts = []
    for number, each in shown:
        fields = _fields(number, each, level, brief=brief, now=now)
        text = " " + joint.join(fields)
        texts.append(f"Session {number}\n{text}" if everything else text)
    if not everything:
        return texts[0]
    head = f"There are {len(texts)} sessions:\n"
    return (head + ("\n" if compact else "\n\n").join(texts)).rstrip()


def _manner(words: Sequence[str], *, compact: bool) -> tuple[int, bool, bool]:
    """Level, brief and compact."""
    level, brief = 1, False
    rest = iter(words)
    for word in rest:
        if word == "brief":
            brief = True
        elif word in {"compact", "nocompact"}:
            compact = word == "compact"
        elif word == "level" and (number := _number(next(rest, ""))) is not None:
            level = number
        else:
            raise _Refused(
                "Must supply 'level' and an integer, 'brief', 'compact' or 'nocompact'. "
                f"Unknown <{word}>."
            )
    return level, brief, compact


def _fields(
    number: int, each: SessionSnapshot, level: int, *, brief: bool, now: float
) -> Iterator[str]:
    config = each.config
    role = ("p", "passive") if config.passive else ("a", "active")
    yield f"id={number}"
    if level < 1:
        yield f"local={each.key.local}"
        yield f"remote={each.key.peer}"
        yield f"state={STATES[each.state]}"
        return
    yield f"local={each.key.local} ({role[level > 1 and not brief]})"
    yield f"remote={each.key.peer}"
    if level == 1:
        yield f"state={STATES[each.state]}"
        return
    yield f"LocalState={STATES[each.state]}<{_diagnostic(each.local_diag, brief)}>"
    yield f"RemoteState={STATES[each.remote_state]}<{_diagnostic(each.remote_diag, brief)}>"
    yield f"LocalId={each.local_discr}"
    yield f"RemoteId={each.remote_discr}"
    count = "d" if brief else ",d"
    if level > 2:
        since = each.age_us / 1e6 if each.last_change is None else now - each.last_change.at
        yield f"Time={STATES[each.state]}({_duration(since)})"
        yield f"CurrentTxInterval={each.tx_interval_us:{count}} us"
        yield f"CurrentRxTimeout={each.detection_time_us:{count}} us"
    if level > 3:
        yield f"LocalDetectMulti={config.detect_mult}"
        yield f"LocalDesiredMinTx={config.desired_min_tx_us:{count}} us"
        yield f"LocalRequiredMinRx={config.required_min_rx_us:{count}} us"
        yield f"RemoteDetectMulti={each.remote_detect_mult}"
        yield f"RemoteDesiredMinTx={each.remote_desired_min_tx_us:{count}} us"
        yield f"RemoteRequiredMinRx={each.remote_min_rx_us:{count}} us"


def _diagnostic(diagnostic: Diagnostic, brief: bool) -> str:
    return str(int(diagnostic)) if brief else diagnostic.name.replace("_", " ").title()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(seconds, 0.0), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02}:{minutes:02}:{rest:06.3f}"
