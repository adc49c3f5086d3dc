"""Being on time: scheduling class, and no pauses of the interpreter's own making.

The best class that the machine grants is taken, and what was granted is reported, because it
explains lateness. Real time brings a duty: a loop that never sleeps must not take the machine with
it, so the kernel's limit for real-time work without a pause is set, and reaching it costs the
process its class, and soon after its life.
"""

import gc
import logging
import os
import resource
import signal
from types import FrameType

log = logging.getLogger(__name__)

_FIFO_PRIORITY = 10
_NICEST = -20
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
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        self._granted = "normal, after a second without sleep"
        log.warning("one second of real-time work without sleep: scheduling is normal from now on")


def _take_nice() -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICEST)
    except OSError:
        return False
    return True


def stop_collecting() -> None:
    """Switch the cycle collector off, with everything made so far kept out of it for good.

    The engine makes no cycles; a collection would only be a pause.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
