"""Being on time: scheduling class, locked memory, no pauses of the interpreter's own making.

The best that the machine grants is taken, and what was granted is reported, because it explains
lateness. Real time brings a duty: a loop that never sleeps must not take the machine with
it, so the kernel's limit for real-time work without a pause is set, and reaching it costs the
process its class, and soon after its life.
"""

import contextlib
import gc
import logging
import os
import re
import resource
import signal
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

_FIFO_PRIORITY = 10
_NICEST = -20
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14
_WITHOUT_SLEEP_US = 1_000_000
_WITHOUT_SLEEP_AT_MOST_US = 3_000_000


class Scheduling:
    """How this process is scheduled; `str()` of it is "fifo 10", "nice -20" or "normal"."""

    def __init__(self) -> None:
        self._granted = "normal"

    def __str__(self) -> str:
        return self._granted

    def acquire(self) -> None:
        """Take SCHED_FIFO, else nice -20, else nothing. Children get none of it."""
        if self._take_fifo():
            self._granted = f"fifo {_FIFO_PRIORITY}"
        elif _take_nice():
            self._granted = f"nice {_NICEST}"

    def include_threads(self) -> None:
        """Schedule all threads that there are by now like this one.

        A thread that had to wait for a processor while it holds the interpreter's lock would make
        the engine wait, too.
        """
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        for thread in _threads():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, nice)
                os.sched_setscheduler(thread, policy, parameters)

    def _take_fifo(self) -> bool:
        parameters = os.sched_param(_FIFO_PRIORITY)
        try:
            resource.setrlimit(
                resource.RLIMIT_RTTIME, (_WITHOUT_SLEEP_US, _WITHOUT_SLEEP_AT_MOST_US)
            )
            signal.signal(signal.SIGXCPU, self._step_down)
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, parameters)
        except (OSError, ValueError):
            return False
        return True

    def _step_down(self, _signal: int, _frame: FrameType | None) -> None:
        # Without CAP_SYS_NICE the flag, once set, cannot be taken back.
        policy = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
        for thread in _threads():
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, policy, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, thread, 0)
        self._granted = "normal, after a second without sleep"
        log.warning("one second of real-time work without sleep: scheduling is normal from now on")


def _threads() -> list[int]:
    return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]


def _take_nice() -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICEST)
    except OSError:
        return False
    return True


def open_many_files() -> None:
    """Let this process have as many open files as its hard limit allows: one socket per session.

    The soft limit is 1024 by custom, for the sake of programs that use select(2). We give it one
    descriptor, the first of the event loop (`bfd.selector`).
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lock_memory() -> str:
    """Keep this process out of the swap and its code in memory; "locked", or why it is not.

    Pages are locked as they are touched (MCL_ONFAULT), so no more memory is used than without. It
    is done only where no limit is in the way: under a limit on locked memory any later growth of
    the program could fail, and that would be worse than a page fault.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _may_lock_without_limit():
        return f"not locked: limited to {soft >> 10} KiB (LimitMEMLOCK=infinity would allow it)"
    import ctypes  # noqa: PLC0415 - a millisecond and half a megabyte, not for nothing

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        return f"not locked: {os.strerror(ctypes.get_errno())}"
    return "locked"


def _may_lock_without_limit() -> bool:
    """Whether CAP_IPC_LOCK is effective."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and int(found[1], 16) >> _CAP_IPC_LOCK & 1 == 1


def stop_collecting() -> None:
    """Switch the cycle collector off, with everything made so far kept out of it for good.

    The engine makes no cycles; a collection would only be a pause. So it is even now: what loading
    leaves behind is not worth the 6 ms.
    """
    gc.freeze()
    gc.disable()
