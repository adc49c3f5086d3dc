"""The report of the dataplane's benchmark, and a smoke run of each measurement that is cheap."""

import json
from pathlib import Path

import pytest
import yaml

from bench.dataplane import agent, measures
from bench.dataplane.__main__ import FULL, trials
from bench.dataplane.report import TITLES, Results, aims, rows, write
from bench.dataplane.site import KUBE_OVN, NO_SNAT, PLAIN, VEGD
from vegd.spec import load


def results() -> Results:
    made = Results()
    for system, rate in ((PLAIN, 100.0), (KUBE_OVN, 80.0), (VEGD, 90.0), (NO_SNAT, 85.0)):
        made.add(system, 1, {"connections": [rate]})
    made.add(VEGD, 100_000, {"first_apply": [1600.0], "one_source": [4.0]})
    return made


def test_aims_are_judged_within_the_run() -> None:
    verdicts = {text: (reached, met) for text, reached, met in aims(results().figures())}
    assert verdicts["new connections: at least Kube-OVN's"] == ("1.12 x", "met")
    assert verdicts["new connections without SNAT: at least 0.9 x plain"] == (
        "0.85 x",
        "**missed**",
    )
    assert verdicts["first apply of 100,000 sources: at most 1.5 s"] == ("1600 ms", "**missed**")
    assert verdicts["one source changed with 100,000 present: at most 5 ms"] == ("4 ms", "met")
    assert verdicts["agent at rest: at most 2 ms/s"] == ("not measured", "-")


def test_the_report_is_written_in_three_forms(tmp_path: Path) -> None:
    text = write(results(), tmp_path, whole=True).read_text()
    assert "| new connections, 1/s | 90 | 85, 0.94x | 80, 0.89x | 100, 1.1x |" in text
    assert "quick" not in text
    assert "<svg" in (tmp_path / "dataplane.svg").read_text()
    assert json.loads((tmp_path / "dataplane.json").read_text())[0] == {
        "measure": "first_apply",
        "system": "vegd",
        "n": 100_000,
        "value": 1600.0,
        "unit": "ms",
        "spread": [1600.0, 1600.0],
    }


def test_every_measure_has_a_row() -> None:
    made = Results()
    made.add(VEGD, 1, {measure: [1.0] for measure in TITLES})
    assert len(list(rows(made.figures()))) == len(TITLES)


def test_each_round_holds_every_system_and_not_always_in_the_same_order() -> None:
    planned = [t.system for t in trials(FULL) if t.run.func is measures.traffic]  # type: ignore[attr-defined]
    first, second = planned[:4], planned[4:8]
    assert set(first) == {PLAIN, KUBE_OVN, VEGD, NO_SNAT} == set(second)
    assert first != second


def test_the_configuration_at_rest_is_a_valid_one(tmp_path: Path) -> None:
    text = agent.configuration()
    assert len(yaml.safe_load(text)["policies"]) == 41
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    assert len(load(path).policies) == 41


@pytest.mark.kernel
def test_a_source_comes_and_goes_in_a_real_kernel() -> None:
    assert set(measures.sources(3)) == {"first_apply", "one_source"}


@pytest.mark.kernel
def test_a_scrape_of_a_real_agent_is_measured() -> None:
    found = measures.scrapes(500, 2)
    assert set(found) == {"scrape_cpu", "scrape_ms", "scrape_pause", "scrape_rss"}
    assert all(value > 0 for values in found.values() for value in values)
