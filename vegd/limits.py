"""Whether a container's limits leave engine and agent enough; `make bench-pod` measures it."""

import logging
from collections.abc import Iterator

from bfd.cgroup import Throttling, memory_limit

log = logging.getLogger(__name__)

_MIB = 1 << 20
_LEAST_BYTES = 48 * _MIB
_LEAST_CPU = 0.1


def too_small(memory_bytes: int | None, processors: float | None) -> Iterator[str]:
    """A line for each limit that is too small; None is no limit."""
    if memory_bytes is not None and memory_bytes < _LEAST_BYTES:
        yield (
            f"the memory limit of {memory_bytes // _MIB} MiB is too small: the kernel will kill "
            f"the BFD engine or the agent; give the container {_LEAST_BYTES // _MIB} MiB or more"
        )
    if processors is not None and processors < _LEAST_CPU:
        yield (
            f"the CPU limit of {processors * 1000:.0f}m is too small: the start takes many seconds "
            f"and BFD packets may be late; give the container {_LEAST_CPU * 1000:.0f}m or more"
        )


def complain() -> None:
    """Log what is too small for this process."""
    throttling = Throttling()
    try:
        processors = throttling.limit()
    finally:
        throttling.close()
    for line in too_small(memory_limit(), processors):
        log.warning("%s", line)
