"""A real request from a pod: whether it is answered, and whom the far side has seen."""

import argparse
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vegd.cli.kubectl.asking import execute
from vegd.errors import Unreachable

_LASTS_S = 5
_NOTHING = 127
_ADDRESSES = re.compile(r"[0-9A-Fa-f:.]{2,45}")

# What the pod has decides what is sent: an HTTP answer may say whom it answers, a ping does not.
_SCRIPT = f"""
if command -v curl >/dev/null 2>&1; then echo "by curl"; exec curl -sS -m {_LASTS_S} "$1"
elif command -v wget >/dev/null 2>&1; then echo "by wget"; exec wget -q -T {_LASTS_S} -O - "$1"
elif command -v ping >/dev/null 2>&1; then echo "by ping"; exec ping -c 1 -W {_LASTS_S} "$2"
else exit {_NOTHING}; fi
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a request went."""

    by: str
    """The program that sent it; empty if the pod has none."""
    is_answered: bool
    seen: str
    """The address that the far side says it saw; empty if it says none."""
    expected: tuple[str, ...]
    complaint: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it was answered, and the far side saw what it should where it says so."""
        right = not self.seen or not self.expected or _is_listed(self.seen, self.expected)
        return self.is_answered and right

    def lines(self) -> Iterator[str]:
        """In words."""
        if not self.by:
            yield f"probe: not sent: {self.complaint}"
            yield "  -> use a Pod of the same labels and Subnet that has curl, wget or ping"
        elif not self.is_answered:
            yield f"probe ({self.by}): no answer: {self.complaint}"
        elif not self.seen:
            yield f"probe ({self.by}): answered; the far side does not say which address it saw"
        elif self.is_well:
            yield f"probe ({self.by}): answered; the far side saw {self.seen}, as expected"
        else:
            wanted = " or ".join(self.expected)
            yield f"probe ({self.by}): answered; the far side saw {self.seen}, and not {wanted}"
            yield "  -> compare with OVN's rows by --ovn-nb: the packet took another way"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "by": self.by,
            "answered": self.is_answered,
            "seen": self.seen,
            "expected": list(self.expected),
            "complaint": self.complaint,
        }


def probe(
    options: argparse.Namespace, namespace: str, pod: str, expected: tuple[str, ...]
) -> Probe:
    """Send one request to the destination."""
    address = options.destination
    url = f"http://[{address}]:{options.port}/" if ":" in address else ""
    url = url or f"http://{address}:{options.port}/"
    command = ["sh", "-c", _SCRIPT, "probe", url, address]
    try:
        done = execute(options, (namespace, pod, ""), command, 4 * _LASTS_S)
    except Unreachable as exc:
        return Probe("", is_answered=False, seen="", expected=expected, complaint=str(exc))
    first, _, body = done.stdout.decode(errors="replace").partition("\n")
    by = first.removeprefix("by ") if first.startswith("by ") else ""
    said = _told(done.stderr.decode(errors="replace"))
    if not by:
        said = said if done.returncode != _NOTHING else "the Pod has neither curl, wget nor ping"
        return Probe("", is_answered=False, seen="", expected=expected, complaint=said)
    seen = "" if by == "ping" else _seen(body, expected)
    return Probe(by, done.returncode == 0, seen, expected, said)


def _told(text: str) -> str:
    """The complaint without kubectl's own line."""
    lines = [each for each in text.splitlines() if "command terminated with" not in each]
    return lines[-1] if lines else "nothing came back in time"


def _seen(body: str, expected: tuple[str, ...]) -> str:
    """The address in the answer of a server that tells its caller's. What is longer than a line is
    a page, and an address in it means nothing unless it is one that is expected."""
    found: list[str] = [each for each in _ADDRESSES.findall(body) if _is_address(each)]
    listed = [each for each in found if _is_listed(each, expected)]
    if listed:
        return listed[0]
    return found[0] if len(found) == 1 and len(body.split()) == 1 else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_listed(address: str, ranges: tuple[str, ...]) -> bool:
    """Whether an address is one of some addresses and ranges FIRST-LAST."""
    wanted = ipaddress.ip_address(address)
    for text in ranges:
        first, _, last = text.partition("-")
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last or first)
        if low.version == wanted.version and int(low) <= int(wanted) <= int(high):
            return True
    return False
