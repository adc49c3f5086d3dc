"""A flow record has the fields of the schema, in their order, and nothing else."""

import json
from ipaddress import ip_address

from dataplane.conntrack_events import Counters
from tests.support.connections import Way, tracked
from vegd.observer.limit import TokenBucket
from vegd.observer.records import Identity, line

IDENTITY = Identity("default", "gateway1", "gateway1-7c9b", "worker-1")
FLOW = tracked(
    Way("10.16.0.25", 42_136, "203.0.113.10", 443),
    Way("172.17.0.11", 1_025, "203.0.113.10", 443),
    6,
    key=3 << 32 | 2_471_802_592,
    counters=Counters(8, 624, 7, 591),
)


def test_a_record_is_one_line_with_the_documented_fields_in_their_order() -> None:
    text = line("end", FLOW, IDENTITY, 1_785_901_200.25)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    expected = {
        "schemaVersion": "v1",
        "timestamp": "2026-08-05T03:40:00.250000Z",
        "event": "end",
        "conntrackID": 2_471_802_592,
        "zone": 3,
        "namespace": "default",
        "name": "gateway1",
        "pod": "gateway1-7c9b",
        "node": "worker-1",
        "addressFamily": "ipv4",
        "protocol": "tcp",
        "protocolNumber": 6,
        "natType": ["snat"],
        "original": {
            "sourceIP": "10.16.0.25",
            "sourcePort": 42_136,
            "destinationIP": "203.0.113.10",
            "destinationPort": 443,
        },
        "translated": {
            "sourceIP": "172.17.0.11",
            "sourcePort": 1_025,
            "destinationIP": "203.0.113.10",
            "destinationPort": 443,
        },
        "counters": {
            "originalPackets": 8,
            "originalBytes": 624,
            "replyPackets": 7,
            "replyBytes": 591,
        },
    }
    assert json.loads(text) == expected
    assert [*json.loads(text)] == [*expected]


def test_without_counts_and_without_ports_these_fields_are_absent() -> None:
    ends = Way("fd00::25", 0, "2001:db8::10", 0), Way("fd17::11", 0, "2001:db8::10", 0)
    found = json.loads(line("start", tracked(*ends, 58), IDENTITY, 0.0))
    assert "counters" not in found
    assert (found["protocol"], found["protocolNumber"]) == ("icmpv6", 58)
    assert found["addressFamily"] == "ipv6"
    assert found["timestamp"] == "1970-01-01T00:00:00.000000Z"
    for side, end in zip(("original", "translated"), ends, strict=True):
        assert found[side].keys() == {"sourceIP", "destinationIP"}
        assert ip_address(found[side]["sourceIP"]) == ip_address(end.source)


def test_a_protocol_without_a_name_keeps_its_number_and_both_kinds_of_nat_are_sorted() -> None:
    flow = tracked(Way("10.0.0.1", 0, "10.0.0.2", 0), Way("10.0.0.3", 0, "10.0.0.4", 0), 47)
    found = json.loads(line("start", flow, IDENTITY, 0.0))
    assert (found["protocol"], found["protocolNumber"]) == ("other", 47)
    assert found["natType"] == ["dnat", "snat"]


def test_a_bucket_lets_its_burst_pass_and_then_its_rate() -> None:
    bucket = TokenBucket(10, 5, now=100.0)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(100.05)
    assert bucket.take(100.125)
    assert not bucket.take(100.125)
    # It never holds more than its burst, and a clock that goes back gives nothing.
    assert sum(bucket.take(1_000.0) for _ in range(100)) == 5
    assert not bucket.take(0.0)
    taken = sum(bucket.take(number / 1_000) for number in range(10_000))
    assert 98 <= taken <= 105
