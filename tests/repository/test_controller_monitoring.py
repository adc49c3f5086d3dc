"""The controller's alerts and dashboard: each alert fires on what it is for, metrics exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promtool import (
    Series,
    case,
    check_alerts,
    check_expressions,
    check_places,
    expressions,
    promtool,
)

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "kube/deploy/monitoring"
DASHBOARD = MONITORING / "vegd-controller.dashboard.json"

JOB = 'job="vegd-system/vegd-controller"'
LEADER, OTHER = f'{JOB},instance="10.0.0.1:10660"', f'{JOB},instance="10.0.0.2:10660"'
TROUBLE = f'vegd_controller_gateway_trouble{{{LEADER},gateway="default/gw",condition="%s"}}'
REFUSED = f'vegd_controller_api_calls_total{{{LEADER},verb="PATCH",resource="vpcs",code="403"}}'
WELL: Series = {
    f"vegd_controller_leader{{{LEADER}}}": "1x180",
    f"vegd_controller_leader{{{OTHER}}}": "0x180",
    f"vegd_controller_ovn_connected{{{LEADER}}}": "1x180",
    f"vegd_controller_ovn_connected{{{OTHER}}}": "0x180",
    f"vegd_controller_followed_behind{{{LEADER}}}": "0x180",
    f'vegd_controller_failing{{{LEADER},queue="gateways"}}': "0x180",
    f'vegd_controller_failing{{{OTHER},queue="gateways"}}': "4x180",
    f'vegd_controller_queue_depth{{{LEADER},queue="gateways"}}': "0 100 900 0x177",
    f'vegd_controller_queue_depth{{{OTHER},queue="gateways"}}': "900x180",
    REFUSED: "3x180",
}
"""With the marks that a former leader bears, and what has piled up with one that never led."""

FIRES: dict[str, Series] = {
    "VegdControllerNoLeader": {f"vegd_controller_leader{{{LEADER}}}": "0x180"},
    "VegdControllerBehind": {f"vegd_controller_followed_behind{{{LEADER}}}": "2x180"},
    "VegdControllerOvnLost": {f"vegd_controller_ovn_connected{{{LEADER}}}": "0x180"},
    "VegdControllerFails": {f'vegd_controller_failing{{{LEADER},queue="gateways"}}': "1x180"},
    "VegdControllerQueueGrows": {
        f'vegd_controller_queue_depth{{{LEADER},queue="gateways"}}': "0+5x180"
    },
    "VegdControllerForbidden": {REFUSED: "3+1x180"},
    "VegdGatewayNotReady": {TROUBLE % "Ready": "1x180", TROUBLE % "Degraded": "1x180"},
    "VegdGatewayDegraded": {TROUBLE % "Degraded": "1x180"},
}
"""What each alert is for, beside what is well, for three hours."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The spec alone, which is a file of rules."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": _document()["spec"]["groups"]}))
    return file


def _document() -> Any:
    return yaml.safe_load((MONITORING / "rules.yaml").read_text())


def _alerts() -> Iterator[dict[str, Any]]:
    for group in _document()["spec"]["groups"]:
        yield from group["rules"]


def test_promtool_accepts_the_rules(rules: Path) -> None:
    promtool("check", "rules", "--lint-fatal", rules)


def test_each_alert_fires_alone_and_none_when_all_is_well(tmp_path: Path, rules: Path) -> None:
    assert {rule["alert"] for rule in _alerts()} == FIRES.keys()
    cases = [case({**WELL, **series}, alert, "2h") for alert, series in FIRES.items()]
    cases += [case(WELL, None, "2h"), case({}, "VegdControllerNoLeader", "2h")]
    check_alerts(rules, cases, tmp_path)


@pytest.mark.parametrize("rule", list(_alerts()), ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "action"}


def test_the_dashboard_is_one(tmp_path: Path) -> None:
    check_places(DASHBOARD)
    check_expressions(DASHBOARD, tmp_path)


def test_rules_and_dashboard_name_documented_metrics_only() -> None:
    # That the document and the exported metrics are the same is tested in tests/cluster.
    document = (ROOT / "docs/controller.md").read_text()
    known = set(re.findall(r"`(vegd_controller_[a-z_]+)`", document))
    text = "".join([*expressions(DASHBOARD), *(rule["expr"] for rule in _alerts())])
    used = set(re.findall(r"\bvegd_[a-z_]+", text))
    assert len(used) > 8
    assert used <= known
