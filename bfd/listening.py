"""Unix sockets to listen on: a name is taken over from who has gone, never from who is there."""

import errno
import os
import socket
import stat
from pathlib import Path


def listen(path: Path, backlog: int = 128) -> socket.socket:
    """A socket that listens at `path`, mode 0600, and does not block.

    Raises OSError, with EADDRINUSE when somebody answers there and EEXIST when it is no socket.
    """
    _make_room(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _make_room(path: Path) -> None:
    """Remove the socket of a process that has gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "something else has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:
            pass
    raise OSError(errno.EADDRINUSE, "another process is using it; stop that one first")
