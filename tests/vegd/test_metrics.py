"""What the engine measures about itself reaches ``/metrics``, in seconds."""

from dataclasses import replace

import pytest

from bfd.lateness import Lateness
from bfd.snapshot import EngineSnapshot, Histogram, SessionSnapshot, describe
from bfd.vitals import Vitals
from dataplane.statistics import InterfaceStatistics, Traffic
from tests.support.bfd import Bench
from tests.support.snapshots import engine_with
from vegd.control import ReconcileCounters
from vegd.metrics import Reading, exposition
from vegd.status import GatewayState, GatewayStatus

STATUS = GatewayStatus(
    name="gw",
    state=GatewayState.READY,
    reasons=(),
    notes=(),
    config="gateway.yaml",
    generation=1,
    revision=None,
    config_faults=(),
    gate="open",
    dataplane="converged",
    dataplane_generation=1,
    drain=None,
    paths=(),
    engine=None,
    sessions=(),
    conntrack_entries=None,
    conntrack_maximum=None,
)


def a_session() -> SessionSnapshot:
    bench = Bench()
    bench.session.send_errors["ENETUNREACH"] = 2
    return describe(bench.session, bench.now_us, 1_700_000_000.0)


def an_engine() -> EngineSnapshot:
    late = Lateness()
    late.record(2_000)
    late.record(3_000_000)
    return replace(
        engine_with(a_session()),
        started_at=5.0,
        transmit_lateness=Histogram.of(late),
        stalls=2,
        longest_stall_us=400_000,
        stalled_us=650_000,
        overflows={"ipv4": 7, "ipv6": 0},
        vitals=Vitals(throttled_periods=3, throttled_us=250_000, waited_us=40_000),
        cpu_limit=0.3,
    )


def page(engine: EngineSnapshot) -> list[str]:
    traffic = InterfaceStatistics("net1", Traffic(4, 3, 2, 1), Traffic(8, 7, 6, 5))
    reading = Reading(
        *(STATUS, ReconcileCounters(), {4: 6}, 1, engine, 0, (), (), None, None, None, (traffic,))
    )
    return exposition(reading).decode().splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "vegd_bfd_stalls_total 2.0",
        "vegd_bfd_stalled_seconds_total 0.65",
        "vegd_bfd_longest_stall_seconds 0.4",
        'vegd_bfd_engine_info{memory="locked",scheduling="fifo 10"} 1.0',
        "vegd_bfd_cpu_limit 0.3",
        "vegd_bfd_throttled_periods_total 3.0",
        "vegd_bfd_throttled_seconds_total 0.25",
        "vegd_bfd_processor_wait_seconds_total 0.04",
        'vegd_bfd_receive_overflows_total{socket="ipv4"} 7.0',
        'vegd_bfd_transmit_lateness_seconds_bucket{le="0.001"} 0.0',
        'vegd_bfd_transmit_lateness_seconds_bucket{le="0.0025"} 1.0',
        'vegd_bfd_transmit_lateness_seconds_bucket{le="+Inf"} 2.0',
        "vegd_bfd_transmit_lateness_seconds_sum 3.002",
        'vegd_bfd_detection_lateness_seconds_bucket{le="+Inf"} 0.0',
        (
            'vegd_bfd_session_packets_not_sent_total{error="ENETUNREACH",interface="",'
            'kind="single-hop",local="192.0.2.1",peer="192.0.2.2"} 2.0'
        ),
    ],
)
def test_what_the_engine_knows_of_its_lateness_is_a_metric(line: str) -> None:
    assert line in page(an_engine())


def test_what_the_kernel_does_not_tell_is_absent_and_not_zero() -> None:
    text = "\n".join(page(replace(an_engine(), vitals=Vitals(), cpu_limit=None)))
    for name in ("throttled", "processor_wait", "cpu_limit"):
        assert name not in text


def test_each_interface_counts_both_directions() -> None:
    lines = page(an_engine())
    for name, received, sent in (
        ("bytes", 4.0, 8.0),
        ("packets", 3.0, 7.0),
        ("errors", 2.0, 6.0),
        ("drops", 1.0, 5.0),
    ):
        metric = f'vegd_interface_{name}_total{{direction="%s",interface="net1"}} %s'
        assert metric % ("receive", received) in lines
        assert metric % ("transmit", sent) in lines
