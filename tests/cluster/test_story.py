"""What may happen to a gateway of a cluster, with both versions of OVN: each scene is judged."""

from pathlib import Path

import pytest

from tests.support.ovn_versions import trixie
from vegd.lab.cluster.cluster import ClusterLab, ClusterOptions
from vegd.lab.cluster.scenes import SCENES
from vegd.lab.cluster.story import run_story
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

_SLACK_MS = 2000.0
_ONCE = ("agent killed", "engine killed", "watcher killed", "controller restarted", "node drained")
"""What is the same to every version of OVN is played with one of them."""


@pytest.mark.parametrize("version", ["installed", "25.03"])
def test_every_scene_costs_no_more_than_it_may(tmp_path: Path, version: str) -> None:
    programs, but = (INSTALLED, _ONCE) if version == "installed" else (trixie(), ())
    report = run_story(
        ClusterLab(ClusterOptions("story", ovn=programs)),
        tmp_path / "report.json",
        tmp_path / "story.svg",
        scenes=[each for each in SCENES if each.name not in but],
        slack_ms=_SLACK_MS,
    )
    assert report.passed
    assert (tmp_path / "story.svg").read_text().count("node gone") == 1
