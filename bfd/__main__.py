"""``python -m bfd``: the engine as a process, see `bfd.service`."""

import contextlib
import gc
import os
import sys
from collections.abc import Sequence

from bfd.lean import without_openssl


def main(argv: Sequence[str]) -> int:
    """Run the engine; the exit status."""
    # A start is a restart, too, with peers that wait; what to be in the end `bfd.realtime` decides.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    # What is loaded stays: to look for garbage in it would take a tenth of the start.
    gc.disable()
    without_openssl()
    from bfd.service import main as serve  # noqa: PLC0415 - only now

    return serve(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
