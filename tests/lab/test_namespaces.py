"""Who is in a namespace, and that nobody stays."""

import subprocess
from collections.abc import Callable

import pytest

from vegd.lab import namespaces
from vegd.lab.state import poll_until

pytestmark = [pytest.mark.kernel]

_STARTS_MORE = "while :; do sleep 99 & i=$((i + 1)); [ $i -lt 50 ] || wait; done"


def test_what_is_started_while_all_are_killed_is_killed_too(netns: Callable[[str], str]) -> None:
    """As when a program that watches over another has just been started."""
    name = netns("n")
    for _ in range(10):
        with subprocess.Popen(namespaces.inside(name, "sh", "-c", _STARTS_MORE)):
            for _ in poll_until(10):
                if namespaces.pids(name):
                    break
            namespaces.kill_inside(name)
            assert not namespaces.pids(name)
