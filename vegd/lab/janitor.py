"""Removes a lab when the process that made it is gone, however it went.

`watch` starts ``python -m vegd.lab.janitor PREFIX`` with a pipe on its standard input and holds the
other end. The kernel closes that end with the process, even on SIGKILL; then the lab is removed.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def watch(prefix: str) -> Iterator[None]:
    """While inside, the lab does not outlive this process; it is removed on leaving, too."""
    # A session of its own: Ctrl-C at the terminal is for the demo, not for who cleans up behind it.
    with subprocess.Popen(
        [sys.executable, "-m", "vegd.lab.janitor", prefix],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as janitor:
        try:
            yield
        finally:
            assert janitor.stdin is not None  # noqa: S101 - asked for above
            janitor.stdin.close()
            janitor.wait()


def main() -> None:
    """Wait for the end of standard input, then remove the lab."""
    from vegd.lab.lab import remove  # noqa: PLC0415 - start watching at once

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    remove(sys.argv[1])


if __name__ == "__main__":
    main()
