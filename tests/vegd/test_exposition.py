"""Our exposition against the one of Prometheus' own client library, and its parser."""

import math
import os

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from vegd.exposition import Counter, Gauge, Histogram, page, process_families

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# The library writes a million and more in Go's way, 1e+06; both are numbers to Prometheus.
VALUES = st.floats(-999_999, 999_999) | st.sampled_from([math.inf, -math.inf, math.nan, 7])


class _Fixed(Collector):
    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> tuple[Metric, ...]:
        return self._families


def _theirs(*families: Metric) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Fixed(*families))
    return generate_latest(registry)


@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS, VALUES), max_size=5))
def test_gauges_and_counters_are_written_as_the_library_writes_them(
    text: str, samples: list[tuple[str, str, float]]
) -> None:
    names = ["zone", "area"]
    gauge, counter = Gauge("a", text, labels=names), Counter("b", text, labels=names)
    their_gauge = GaugeMetricFamily("a", text, labels=names)
    their_counter = CounterMetricFamily("b", text, labels=names)
    for first, second, value in samples:
        for ours in (gauge, counter):
            ours.add([first, second], value)
        for theirs in (their_gauge, their_counter):
            theirs.add_metric([first, second], value)
    assert page([gauge, counter]) == _theirs(their_gauge, their_counter)
    single = [Gauge("c", text, value=value) for _, _, value in samples[:1]]
    expected = [GaugeMetricFamily("c", text, value=value) for _, _, value in samples[:1]]
    assert page(single) == _theirs(*expected)


@given(
    st.lists(st.floats(0, 100), unique=True, max_size=6).map(sorted),
    st.data(),
    st.floats(0, 999_999),
)
def test_histograms_are_written_as_the_library_writes_them(
    bounds: list[float], data: st.DataObject, total: float
) -> None:
    size = len(bounds) + 1
    counts = data.draw(st.lists(st.integers(0, 1000), min_size=size, max_size=size))
    sums = [sum(counts[: place + 1]) for place in range(size)]
    names = [*map(str, bounds), "+Inf"]
    theirs = HistogramMetricFamily(
        "a", "Text.", buckets=list(zip(names, sums, strict=True)), sum_value=total
    )
    assert page([Histogram("a", "Text.", bounds, counts, total)]) == _theirs(theirs)


def test_large_values_are_read_back_exactly() -> None:
    text = page([Gauge("a", "Text.", value=2**53), Counter("b", "Text.", value=123_456_789)])
    read = text_string_to_metric_families(text.decode())
    assert [each.samples[0].value for each in read] == [2**53, 123_456_789]


def test_the_process_is_told_of_as_by_the_library() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    theirs, ours = (
        {each.name: each for each in text_string_to_metric_families(text.decode())}
        for text in (generate_latest(registry), page(process_families()))
    )
    assert ours.keys() == theirs.keys()
    for name, family in theirs.items():
        assert (ours[name].documentation, ours[name].type) == (family.documentation, family.type)
        assert math.isclose(ours[name].samples[0].value, family.samples[0].value, rel_tol=0.5)
    assert ours["process_open_fds"].samples[0].value <= os.sysconf("SC_OPEN_MAX")
