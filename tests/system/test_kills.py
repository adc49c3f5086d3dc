"""SIGKILL at any point of an apply leaves the old ruleset or the new; the next start converges."""

import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.dataplane import build
from tests.support.netns import inside

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

KILLS = 200


def test_an_apply_that_is_killed_leaves_the_old_or_the_new_ruleset(
    netns: Callable[[str], str],
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    top = build(netns)
    command = (sys.executable, "-m", "tests.support.killed_applies", str(seed), str(KILLS))
    done = subprocess.run(
        inside(top.gateway, *command), capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    old, new = map(int, done.stdout.split())
    assert old + new == KILLS
    # The kills have hit both sides of the transaction.
    assert min(old, new) > 0, done.stdout
