"""Alert rules and dashboard: each alert fires on what it is for, and every metric exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promtool import (
    case,
    check_alerts,
    check_expressions,
    check_places,
    expressions,
    promtool,
)

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs/monitoring/vegd.rules.yaml"
DASHBOARD = ROOT / "docs/monitoring/vegd.dashboard.json"

PEER = 'instance="gw1",peer="10.0.0.1"'
GW = 'instance="gw1"'
PATH = 'instance="gw1",family="ipv4"'
GROWS = "0+100x180"
"""A counter from 0, by 100 a minute, for three hours."""

FIRES: dict[str, dict[str, str]] = {
    "VegdGone": {'up{job="vegd",instance="gw1"}': "0x180"},
    "VegdNotReady": {f"vegd_ready{{{GW}}}": "0x180", f"vegd_draining{{{GW}}}": "0x180"},
    "VegdDrainLasts": {f"vegd_draining{{{GW}}}": "1x180"},
    "VegdConfigurationRefused": {f"vegd_config_faults{{{GW}}}": "2x180"},
    "VegdNotConverged": {f"vegd_dataplane_converged{{{GW}}}": "0x180"},
    "VegdDrift": {f'vegd_dataplane_drift_repairs_total{{{GW},object="rule"}}': "0+1x180"},
    "VegdPathWithdrawn": {
        f"vegd_path_withdrawn{{{PATH}}}": "1x180",
        f"vegd_path_up{{{PATH}}}": "0x180",
    },
    "VegdPathUnusable": {
        f"vegd_path_withdrawn{{{PATH}}}": "0x180",
        f"vegd_path_up{{{PATH}}}": "0x180",
    },
    "VegdProbeFails": {f'vegd_probe_up{{{PATH},target="192.0.2.1"}}': "0x180"},
    "VegdBfdEngineDown": {f"vegd_bfd_engine_up{{{GW}}}": "0x180"},
    "VegdBfdEngineRestarts": {f"vegd_bfd_engine_restarts_total{{{GW}}}": "0+1x180"},
    "VegdBfdSessionDown": {
        f"vegd_bfd_session_state{{{PEER}}}": "1x180",
        f"vegd_draining{{{GW}}}": "0x180",
    },
    "VegdBfdSessionFlaps": {f"vegd_bfd_session_transitions_total{{{PEER}}}": "0+2x180"},
    "VegdBfdStalls": {f"vegd_bfd_throttled_seconds_total{{{GW}}}": "0+1x180"},
    "VegdBfdPacketsLost": {f'vegd_bfd_receive_overflows_total{{{GW},socket="news"}}': GROWS},
    "VegdBfdKeyFaults": {f"vegd_bfd_key_faults{{{GW}}}": "1x180"},
    "VegdConntrackFills": {
        f"vegd_conntrack_entries{{{GW}}}": "900x180",
        f"vegd_conntrack_entries_limit{{{GW}}}": "1000x180",
    },
    "VegdConntrackFull": {f"vegd_conntrack_drops_total{{{GW}}}": GROWS},
    "VegdSnatPortsScarce": {
        f'vegd_snat_ports_used_ratio{{{GW},address="172.17.0.11",protocol="tcp"}}': "0.9x180"
    },
    "VegdSnatInsertFails": {f"vegd_conntrack_insert_failures_total{{{GW}}}": GROWS},
}
"""What each alert is for, for three hours."""

WELL = {
    'up{job="vegd",instance="gw1"}': "1x180",
    f"vegd_ready{{{GW}}}": "1x180",
    f"vegd_draining{{{GW}}}": "0x180",
    f"vegd_config_faults{{{GW}}}": "0x180",
    f"vegd_dataplane_converged{{{GW}}}": "1x180",
    f'vegd_dataplane_drift_repairs_total{{{GW},object="rule"}}': "7x180",
    f"vegd_path_withdrawn{{{PATH}}}": "0x180",
    f"vegd_path_up{{{PATH}}}": "1x180",
    f'vegd_probe_up{{{PATH},target="192.0.2.1"}}': "1x180",
    f"vegd_bfd_engine_up{{{GW}}}": "1x180",
    f"vegd_bfd_engine_restarts_total{{{GW}}}": "1x180",
    f"vegd_bfd_session_state{{{PEER}}}": "3x180",
    f"vegd_bfd_session_transitions_total{{{PEER}}}": "2x180",
    f"vegd_bfd_stalled_seconds_total{{{GW}}}": "0+0.1x180",
    f"vegd_bfd_throttled_seconds_total{{{GW}}}": "0x180",
    f'vegd_bfd_receive_overflows_total{{{GW},socket="news"}}': "5x180",
    f"vegd_bfd_key_faults{{{GW}}}": "0x180",
    f"vegd_conntrack_entries{{{GW}}}": "700x180",
    f"vegd_conntrack_entries_limit{{{GW}}}": "1000x180",
    f"vegd_conntrack_drops_total{{{GW}}}": "9x180",
    f'vegd_snat_ports_used_ratio{{{GW},address="172.17.0.11",protocol="tcp"}}': "0.5x180",
    f"vegd_conntrack_insert_failures_total{{{GW}}}": "0+6x180",
}
DRAINED = WELL | {
    f"vegd_ready{{{GW}}}": "0x180",
    f"vegd_draining{{{GW}}}": "1x180",
    f"vegd_bfd_session_state{{{PEER}}}": "0x180",
}


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", RULES)


def test_each_alert_fires_alone_and_none_when_all_is_well(tmp_path: Path) -> None:
    assert {rule["alert"] for rule in _rules()} == FIRES.keys()
    cases = [case(series, alert, "2h") for alert, series in FIRES.items()]
    check_alerts(RULES, [*cases, case(WELL, None, "2h"), case(DRAINED, None, "30m")], tmp_path)


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "action"}


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    assert len(expressions(DASHBOARD)) > 20
    check_expressions(DASHBOARD, tmp_path)


def test_panels_have_numbers_and_places_of_their_own() -> None:
    check_places(DASHBOARD)


def test_rules_and_dashboard_name_documented_metrics_only() -> None:
    # That the document and the exported metrics are the same is tested beside this.
    document = (ROOT / "docs/metrics.md").read_text()
    known = re.findall(r"^\| `(vegd_[a-z0-9_]+)` \| (\w+)", document, re.MULTILINE)
    names = {f"{name}_bucket" if kind == "histogram" else name for name, kind in known}
    text = "".join([*expressions(DASHBOARD), *(rule["expr"] for rule in _rules())])
    used = set(re.findall(r"\bvegd_[a-z0-9_]+", text))
    assert len(used) > 25
    assert used <= names
