"""What systemd wants to know (sd_notify(3)): ready, reloading, stopping, and one line of status.

Outside systemd, where NOTIFY_SOCKET is not set, nothing happens.
"""

import contextlib
import os
import socket
import time


def notify(state: str) -> None:
    """Send one state such as ``READY=1``; failures are ignored, as sd_notify(3) recommends."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)


def reloading() -> None:
    """Say that a reload began; systemd wants the monotonic time in microseconds with it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
