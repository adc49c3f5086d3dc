"""BFD figures in words for people: durations, ages, states, reasons."""

import time

from bfd.fsm import Diagnostic, State
from bfd.override import Override

_STATES = {
    State.ADMIN_DOWN: "AdminDown",
    State.DOWN: "Down",
    State.INIT: "Init",
    State.UP: "Up",
}


def state_name(state: State) -> str:
    """The state as the RFC writes it."""
    return _STATES[state]


def diagnostic(diag: Diagnostic) -> str:
    """A diagnostic by number and name: ``1, control detection time expired``."""
    return f"{int(diag)}, {plain(diag.name)}"


def plain(name: str) -> str:
    """A name of the program as words."""
    return name.lower().replace("_", " ")


def ms(us: int) -> str:
    """Microseconds as milliseconds, without a unit."""
    return f"{us / 1000:g}"


def duration(us: int) -> str:
    """A span of time with its unit: ``340 ms``, ``2.5 s``, ``3m04s``."""
    if us < 1_000_000:
        return f"{us / 1000:.3g} ms"
    if us < 60_000_000:
        return f"{us / 1_000_000:.3g} s"
    return age(us / 1_000_000)


def age(seconds: float) -> str:
    """A span of time, short: ``7s``, ``3m04s``, ``2h10m``, ``5d03h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit_s:
            return f"{whole // unit_s}{unit}{whole % unit_s // part_s:02d}{part}"
    return f"{whole // 60}m{whole % 60:02d}s"


def moment(at: float, *, fractions: bool = False) -> str:
    """A moment of the wall clock, local time."""
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return f"{text}.{int(at % 1 * 1000):03d}" if fractions else text


def count(number: int, what: str) -> str:
    """``1 packet``, ``2 packets``."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def endpoint(address: str, port: int) -> str:
    """Address and port; the address alone for a protocol without ports."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def override_text(override: Override) -> str:
    """What an operator has laid over a session."""
    texts = [
        f"{_VALUES[name]} {ms(value)} ms" if name.endswith("_us") else f"{_VALUES[name]} {value}"
        for name, value in override.values().items()
    ]
    return ", ".join([*(["AdminDown"] if override.admin_down else []), *texts]) or "none"


_VALUES = {
    "desired_min_tx_us": "transmit",
    "required_min_rx_us": "receive",
    "detect_mult": "multiplier",
    "min_ttl": "TTL from",
}
