"""A million steps of two engines in bad weather; see `tests.support.worlds`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.worlds import World

ROOT = Path(__file__).parents[2]
PROCESSES = 2
WORLDS = 40


@pytest.mark.timeout(240)
def test_D8_D12_D13_E2_a_million_steps_keep_every_promise() -> None:
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.worlds", "--seed", str(first)),
                *("--stride", str(PROCESSES), "--count", str(WORLDS // PROCESSES)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for first in range(PROCESSES)
    ]
    try:
        told = [process.communicate()[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    print(*told, sep="\n")
    assert [process.returncode for process in running] == [0] * PROCESSES
    assert sum(int(text.split()[-2]) for text in told) >= 1_000_000


def test_a_world_is_the_same_each_time() -> None:
    one, other = World(3), World(3)
    for world in (one, other):
        world.live(2_000)
    assert one.a.sent == other.a.sent
    assert one.b.changed == other.b.changed
    assert one.a.sent != World(4).a.sent
