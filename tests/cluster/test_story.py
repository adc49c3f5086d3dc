"""What may happen to a gateway of a cluster, with both versions of OVN: each scene is judged."""

from pathlib import Path

import pytest

from tests.support.ovn_versions import trixie
from vegd.lab.cluster.cluster import ClusterLab, ClusterOptions
from vegd.lab.cluster.story import run_story
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

_SLACK_MS = 2000.0


@pytest.mark.parametrize("version", ["installed", "25.03"])
def test_every_scene_costs_no_more_than_it_may(tmp_path: Path, version: str) -> None:
    programs = INSTALLED if version == "installed" else trixie()
    lab = ClusterLab(ClusterOptions("story", ovn=programs))
    report = run_story(lab, tmp_path / "report.json", tmp_path / "story.svg", slack_ms=_SLACK_MS)
    assert report.passed
    assert (tmp_path / "story.svg").read_text().count("node gone") == 1
