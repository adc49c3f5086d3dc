"""One clear line for a limit that is too small, and none for what Kube-OVN gives."""

import pytest

from vegd.limits import too_small

MIB = 1 << 20


@pytest.mark.parametrize(
    ("memory_mib", "processors"),
    [(None, None), (64, 0.3), (50, 0.2), (48, 0.1)],
    ids=["none", "master", "1.16.2", "least"],
)
def test_what_suffices_is_not_spoken_of(memory_mib: int | None, processors: float | None) -> None:
    assert list(too_small(memory_mib and memory_mib * MIB, processors)) == []


def test_each_limit_that_is_too_small_is_one_line_with_the_remedy() -> None:
    memory, cpu = too_small(32 * MIB, 0.05)
    assert memory == (
        "the memory limit of 32 MiB is too small: the kernel will kill the BFD engine or the "
        "agent; give the container 48 MiB or more"
    )
    assert cpu == (
        "the CPU limit of 50m is too small: the start takes many seconds and BFD packets may be "
        "late; give the container 100m or more"
    )
