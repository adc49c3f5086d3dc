"""The arithmetic of the benchmark: from packets to samples, figures and verdicts."""

import json
from pathlib import Path

import pytest

from bench.bfd.aims import AIMS
from bench.bfd.capture import Packet, detections_ms, gaps_ms
from bench.bfd.measures import Outcome, Trial
from bench.bfd.plan import FULL, OVERHEAD_S, trials
from bench.bfd.report import ROWS, Results, rows, write
from bench.support.report import cell, figure, p99, percent_over, percent_under, quote

A, B = (b"a", b"x"), (b"b", b"x")
DOWN, UP = 1, 3


def packet(
    ms: float, state: int = UP, *, sent: bool = True, pair: tuple[bytes, bytes] = A, diag: int = 0
) -> Packet:
    return Packet(round(ms * 1e6), sent, pair, state, diag, False, 3, 50_000, 50_000)


def trial(daemon: str, sessions: int = 64) -> Trial:
    return Trial("cpu", daemon, sessions, 1.0, lambda _: Outcome({}))


def test_a_detection_counts_from_the_peers_last_packet_to_our_first_down() -> None:
    packets = [
        *(packet(0, sent=False), packet(10), packet(40, sent=False), packet(55)),
        *(packet(190.4, DOWN, diag=1), packet(191, DOWN, sent=False), packet(191.1, 2)),
    ]
    assert detections_ms(packets) == pytest.approx([0.4])


def test_a_down_that_the_peer_asked_for_is_no_detection() -> None:
    packets = [packet(0, sent=False), packet(10), packet(20, DOWN, sent=False)]
    assert detections_ms([*packets, packet(20.1, DOWN, diag=3)]) == []


def test_sessions_are_told_apart() -> None:
    packets = [packet(0), packet(5, pair=B), packet(40), packet(47, pair=B), packet(41, sent=False)]
    assert sorted(gaps_ms(packets)) == pytest.approx([40, 42])


def test_figures_pool_the_rounds_and_keep_their_spread() -> None:
    found = figure("m", "vegd", 1, [[1.0, 2.0, 9.0], [4.0], []], "ms")
    assert found is not None
    assert (found.value, found.spread) == (3.0, (2.0, 4.0))
    assert figure("m", "vegd", 1, [[]], "ms") is None


def test_percentiles_and_shares() -> None:
    assert p99([float(n) for n in range(1, 101)]) == 99
    assert p99([7.0]) == 7
    assert percent_over(100)([99, 100, 101, 102]) == 50
    assert percent_under(75)([74.9, 75, 80, 100]) == 25


def test_a_cell_shows_value_spread_and_ratio_to_ours() -> None:
    ours = figure("m", "vegd", 1, [[20.0], [30.0]], "ms")
    other = figure("m", "BIRD", 1, [[50.0]], "ms")
    assert cell(ours, ours) == "25 (20 to 30)"
    assert cell(other, ours) == "50, 2x"
    assert cell(None, ours) == "-"


def test_aims_compare_with_the_rival_of_the_same_run(tmp_path: Path) -> None:
    results = Results()
    for daemon, cpu in (("vegd", 30.0), ("BIRD", 50.0)):
        results.add(trial(daemon), {"cpu_100ms": [cpu]})
    results.add(trial("vegd", 1), {"rss": [22.1]})
    figures = results.figures()
    verdicts = {aim.text: aim.found(figures) for aim in AIMS}
    assert verdicts["CPU, 64 sessions at 100 ms: at most 0.7 x BIRD"] == ("0.60 x BIRD", True)
    assert verdicts["target 0.35 x BIRD"] == ("0.60 x BIRD", False)
    assert verdicts["memory, 1 session: at most 22 MB resident"] == ("22.1 MB", False)
    assert verdicts["p99 at most the best rival's"] is None
    report = write(results, tmp_path, ["vegd 1"], publish=False).read_text()
    assert "| 0.60 x BIRD | met |" in report
    listed = json.loads((tmp_path / "bfd.json").read_text())
    assert listed[0] == {
        "measure": "cpu_100ms",
        "daemon": "vegd",
        "sessions": 64,
        "value": 30.0,
        "unit": "ms/s",
        "spread": [30.0, 30.0],
    }
    assert "<svg" in (tmp_path / "bfd.svg").read_text()


def test_every_sample_has_a_row_and_every_row_its_samples() -> None:
    results = Results()
    for row in ROWS:
        results.add(trial("vegd"), {row.samples: [1.0]})
    assert len(list(rows(results.figures()))) == len(ROWS)


def test_a_full_run_ends_within_25_minutes() -> None:
    planned = list(trials(FULL, ["vegd", "BIRD", "FRR", "aiobfd"]))
    assert sum(t.seconds + OVERHEAD_S for t in planned if t.group != "start") < 23 * 60
    assert not [t for t in planned if t.daemon == "aiobfd" and t.sessions > 64]


def test_a_quotation_replaces_what_stands_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
    quote(path, "x", "new")
    assert path.read_text() == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
    quote(path, "y", "other")
    assert "other" not in path.read_text()


def test_the_readme_quotes_the_committed_results() -> None:
    root = Path(__file__).parents[2]
    text = (root / "README.md").read_text()
    report = root / "bench/results/bfd.md"
    quoted = text.partition("<!-- bench-bfd -->")[2].partition("<!-- end of bench-bfd -->")[0]
    lines = [line for line in quoted.splitlines() if line.startswith("| CPU")]
    assert bool(lines) == report.exists()
    assert all(line in report.read_text() for line in lines)
