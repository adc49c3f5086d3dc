"""What can go wrong with the kernel; each error says what was refused, and by whom if known."""

import errno
import os


class DataplaneError(Exception):
    """The kernel, or what it takes to talk to it, is not as it must be. One line for people."""

    @property
    def is_final(self) -> bool:
        """Whether trying again will never help."""
        return False


class PermissionDenied(DataplaneError):
    """The process lacks CAP_NET_ADMIN in its network namespace."""


class NftablesMissing(DataplaneError):
    """libnftables or its Python binding is not installed."""


class Refused(DataplaneError):
    """The kernel refused one operation. `errno` is 0 where it gave none."""

    def __init__(self, what: str, number: int, reason: str = "") -> None:
        self.errno = number
        super().__init__(f"{what}: {reason or _words(number)}")

    @property
    def is_final(self) -> bool:
        """In a container without privileges /proc/sys is read-only for as long as it lives."""
        return self.errno == errno.EROFS


def _words(number: int) -> str:
    hints = {
        errno.EPERM: "not permitted; CAP_NET_ADMIN is needed",
        errno.EBUSY: "the parent is in use as a port of a bridge or bond, or by a link of a mode"
        " that shares with no other; free it, or configure another parent",
        errno.EEXIST: "something of that kind exists and belongs to somebody else",
        errno.ENETUNREACH: "the gateway is not on a network of this interface",
        errno.EHOSTUNREACH: "the gateway cannot be reached from this interface",
        errno.EOPNOTSUPP: "this kernel cannot do it; load or enable what it needs",
        errno.EROFS: "/proc/sys is read-only here; set it on the host, or make /proc/sys writable",
    }
    return hints.get(number, os.strerror(number).lower())
