"""The control protocol: one JSON object per line over a Unix stream socket.

The client asks, the engine answers each request with one line, in order. A request is
``{"op": NAME, ...}``; an answer is ``{"ok": true, ...}`` or ``{"ok": false, "error": TEXT}``.
The first request must be ``hello`` with the version; versions must be equal.

========= ==================================== =======================================
op        with                                 answer
========= ==================================== =======================================
hello     version                              version, pid
begin     generation                           (starts an empty set on this connection)
put       session (see `config_to_json`)       (adds to that set; nothing changes yet)
invite    invitation (see `bfd.unsolicited`)   (lets peers begin sessions, with the set)
commit                                         put, removed: the set is in force
snapshot                                       head without sessions, count
page      from                                 sessions from that index on, next (or null)
override  session (its key), override          (laid over the set at once; {} ends it)
history   from (0: look anew), peer (optional) transitions from that index on, next (or null)
clear     peer (optional)                      sessions: of so many, counters start from 0
watch                                          then, without end, lines {"session": ...}
events    after (optional: a number)           seq, pid; then, without end, see below
drain                                          AdminDown has been sent; the engine will exit
handover                                       pid: of the process that goes on from here
========= ==================================== =======================================

Events without `after` begin with a line ``{"session": ...}`` for each session. Then come lines
``{"transition": ...}`` with rising numbers, and ``{"lost": N}`` where N of them are not kept any
more.

A connection that has committed counts as an agent: while none is there, the hold time runs.
Lines are limited to `LINE_LIMIT` bytes; a longer one ends the connection.
"""

import json
from typing import Any

VERSION = 1
LINE_LIMIT = 16_384
PAGE = 3
"""Sessions per page: small enough to hold the engine for about a tenth of a millisecond."""
MAX_SESSIONS = 16_384
"""As many as there are source ports (RFC 5881 §4)."""

Json = dict[str, Any]


class ProtocolError(Exception):
    """What came is not of this protocol; the message says why."""


def dump(message: Json) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def load(line: bytes) -> Json:
    """The message in a line. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("the line is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the line is not a JSON object")
    return message


def optional_text(message: Json, name: str) -> str | None:
    """A field that is a text or absent. Raises ProtocolError."""
    value = message.get(name)
    if value is not None and not isinstance(value, str):
        raise ProtocolError(f"{name}: {value!r} is not a text")
    return value


def integer(message: Json, name: str, low: int = 0, high: int = (1 << 63) - 1) -> int:
    """A field that must be an integer in a range. Raises ProtocolError."""
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError(f"{name}: {value!r} is not an integer from {low} to {high}")
    return value
