"""Alert rules and dashboards under ``promtool``, the program that comes with Prometheus."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

Series = Mapping[str, str]
"""Samples by series, in promtool's notation, one a minute."""


def promtool(*arguments: str | Path) -> None:
    """Run it; an AssertionError with what it says if it is not content."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr


def case(series: Series, alert: str | None, after: str) -> dict[str, Any]:
    """Series, and the one alert that they make fire after some time."""
    return {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": after,
                "exp_samples": [
                    {"labels": f'{{alertname="{each}"}}', "value": 1} for each in [alert] if each
                ],
            }
        ],
    }


def check_alerts(rules: Path, cases: Iterable[dict[str, Any]], directory: Path) -> None:
    """Have the rules judge the cases; files for that are written into the directory."""
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": list(cases)}
    tests = directory / "alerts.test.yaml"
    tests.write_text(yaml.safe_dump(document, sort_keys=False))
    promtool("test", "rules", tests)


def expressions(dashboard: Path) -> list[str]:
    """What the panels of a dashboard ask Prometheus."""
    panels = json.loads(dashboard.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def check_expressions(dashboard: Path, directory: Path) -> None:
    """Have it parse them."""
    rules = [
        {"record": f"panel:{place}", "expr": expression.replace("$__rate_interval", "5m")}
        for place, expression in enumerate(expressions(dashboard))
    ]
    file = directory / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


def check_places(dashboard: Path) -> None:
    """Panels have numbers and places of their own, within the 24 columns."""
    panels = json.loads(dashboard.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
