"""The walkthrough's page says what its commands print, in substance, with both versions of OVN."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ovn_versions import trixie
from tests.support.walkthrough import cluster, differences, parse, play
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

_PAGE = Path(__file__).parents[2] / "docs/walkthrough.md"


@pytest.fixture(params=["installed", "25.03"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    programs = INSTALLED if request.param == "installed" else trixie()
    with cluster("walk", programs) as made:
        yield made


def test_every_command_prints_what_the_page_says(
    environment: dict[str, str], tmp_path: Path
) -> None:
    page = parse(_PAGE.read_text())
    played = play(page, tmp_path, environment, print)
    assert not differences(page, played), "\n\n".join(differences(page, played))
