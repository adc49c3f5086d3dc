"""One daemon in each network namespace.

The lock is a listening Unix socket in the *abstract* namespace, which belongs to the network
namespace (unix(7), network_namespaces(7)): two gateways on one host do not meet, two daemons in one
namespace do, whatever their directories, and a lock cannot outlive its process.
"""

import socket
import struct

from vegd.errors import VegdError

_NAME = "\0vegd-agent"


class AlreadyRunning(VegdError):
    """Another agent holds the lock of this network namespace."""


def hold(
    remedy: str = "stop it first, or start this one in a namespace of its own",
) -> socket.socket:
    """Take the lock; it is held until the socket is closed or the process ends.

    Raises:
        AlreadyRunning: with the process id of the holder.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        lock.bind(_NAME)
    except OSError as exc:
        lock.close()
        raise AlreadyRunning(
            f"another vegd (process {_holder()}) already runs in this network namespace; {remedy}"
        ) from exc
    lock.listen(1)
    return lock


def _holder() -> str:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(_NAME)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return "unknown"
    (pid,) = struct.unpack_from("i", credentials)
    return str(pid) if pid else "of another process namespace"
