"""The network of a lab's cluster with OVN 25.03."""

from pathlib import Path

import pytest

from tests.support.cluster_network import network_of, sessions_move_to_the_chassis_that_is_left
from tests.support.ovn_versions import trixie

# The root takes a minute and a half of it where it is not there yet.
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


async def test_bfd_port_moves_to_the_chassis_that_is_left(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        programs = trixie()
    with network_of(programs, "node1", "node2") as pods:
        await sessions_move_to_the_chassis_that_is_left(pods, tmp_path / "engine")
