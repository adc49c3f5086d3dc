"""The walkthrough's page says what its commands print, in substance, with both versions of OVN."""

from pathlib import Path

import pytest

from tests.support.ovn_versions import trixie
from tests.support.walkthrough import cluster, differences, parse, play
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

_BY_VERSION = (
    *("ovn-nbctl show", "lr-policy-list", "lr-route-list"),
    *("kubectl vegd status", "kubectl vegd trace"),
)
"""What says how OVN's version leads packets; the page has it of the installed one."""
_PAGE = Path(__file__).parents[2] / "docs/walkthrough.md"


@pytest.mark.parametrize("version", ["installed", "25.03"])
def test_every_command_prints_what_the_page_says(tmp_path: Path, version: str) -> None:
    programs, but = (INSTALLED, ()) if version == "installed" else (trixie(), _BY_VERSION)
    page = parse(_PAGE.read_text())
    with cluster("walk", programs) as environment:
        played = play(page, tmp_path, environment, print)
    found = differences(page, played, but)
    assert not found, "\n\n".join(found)
