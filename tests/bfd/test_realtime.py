"""Being on time: what is granted is reported, children get none of it, a runaway loop loses it."""

import subprocess
import sys

import pytest

ACQUIRE = "import os; from bfd.realtime import Scheduling; s = Scheduling(); s.acquire(); "


def output_of(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ACQUIRE + code],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


def test_what_is_granted_is_what_the_kernel_says() -> None:
    granted, policy, nice = output_of(
        "policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK; "
        "print(s, policy == os.SCHED_FIFO, os.getpriority(os.PRIO_PROCESS, 0), sep=',')"
    ).split(",")
    expected = {
        "fifo 10": ("True", nice),
        "nice -20": ("False", "-20"),
        "normal": ("False", nice),
    }
    assert (policy, nice) == expected[granted]


def test_children_are_scheduled_normally() -> None:
    code = (
        "import subprocess, sys; "
        "print(subprocess.run([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))'],"
        " capture_output=True, text=True).stdout)"
    )
    assert output_of(code) == "0"


THREADS = (
    "import threading\n"
    "done = threading.Event()\n"
    "for _ in range(3): threading.Thread(target=done.wait).start()\n"
    "s.include_threads()\n"
    "def seen(): return {(os.sched_getscheduler(int(t)), os.getpriority(os.PRIO_PROCESS, int(t)))"
    " for t in os.listdir('/proc/self/task')}\n"
)


def test_all_threads_are_scheduled_like_the_engine() -> None:
    code = THREADS + (
        "print(threading.active_count(), seen() == "
        "{(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))})\n"
        "done.set()"
    )
    assert output_of(code) == "4 True"


@pytest.mark.kernel
def test_a_loop_that_never_sleeps_loses_its_class_and_not_its_life() -> None:
    code = THREADS + (
        "import time; end = time.monotonic() + 5\n"
        "while time.monotonic() < end and str(s).startswith('fifo'): pass\n"
        "print(s, {(policy & ~os.SCHED_RESET_ON_FORK, nice) for policy, nice in seen()}, sep='|')\n"
        "done.set()"
    )
    said, classes = output_of("os.setpriority(os.PRIO_PROCESS, 0, -20); " + code).split("|")
    if said.startswith("nice"):
        pytest.skip("the machine grants no real-time class")
    assert said == "normal, after a second without sleep"
    assert classes == "{(0, 0)}"


def test_what_is_said_of_the_memory_is_what_the_kernel_says() -> None:
    said, locked_kib = output_of(
        "from bfd.realtime import lock_memory; said = lock_memory(); spare = bytearray(1 << 22); "
        "lines = open('/proc/self/status').read().splitlines(); "
        "print(said, next(line for line in lines if line.startswith('VmLck')).split()[1], sep='|')"
    ).split("|")
    if said == "locked":
        assert int(locked_kib) >= 4096
    else:
        assert said.startswith("not locked: ")
        assert int(locked_kib) == 0


def test_the_collector_is_frozen_with_all_that_was_made_before() -> None:
    code = (
        "import gc; from bfd.realtime import stop_collecting; stop_collecting(); "
        "print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    )
    assert output_of(code) == "False True"
