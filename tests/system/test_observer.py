"""The observer beside a real gateway: what it writes against what was sent, and what hinders it."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import eventually
from tests.support.dataplane import (
    DIRECT_CLIENT,
    EXTERNAL,
    OUTSIDE,
    OUTSIDE_PORT,
    SNAT_CLIENT,
    Topology,
    conversation,
    exchange,
    family,
    inside_thread,
    ready,
    udp,
)
from tests.support.netns import run
from tests.support.observer import ALL, PORT, Observer, forget_all, place

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

SCRIPT = Path(__file__).parents[2] / "kube/image/vpc-egress-gateway-observer"
EVERYTHING = {"metrics": {"enabled": True}, "log": {"enabled": True, "rateLimit": ALL}}
METRICS = {"metrics": {"enabled": True}}


class Pod:
    """A gateway in its namespace, with an observer to be started."""

    def __init__(self, top: Topology, directory: Path) -> None:
        self.top = top
        self.observer = Observer(top.gateway, directory)

    def setting(self, name: str, value: int) -> None:
        run(self.top.gateway, "sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={value}")


@pytest.fixture
def pod(netns: Callable[[str], str]) -> Iterator[Pod]:
    with place() as directory:
        made = Pod(ready(netns), directory)
        made.setting("acct", 1)
        yield made


def _log(**fields: Any) -> dict[str, Any]:
    return {"log": {"enabled": True, "rateLimit": ALL, **fields}}


def _flood(top: Topology, count: int, first_port: int = 10_000) -> None:
    """Begin so many connections: one datagram each."""
    with udp(top.vpc, SNAT_CLIENT[4]) as client:
        for number in range(count):
            client.sendto(b"", (OUTSIDE[4], first_port + number))


def _udp(top: Topology, version: int) -> tuple[str, int, str, int, str, int]:
    """Ask and be answered; who has asked whom, and as whom the outside has seen it."""
    with conversation(top, SNAT_CLIENT[version], version) as (ours, theirs):
        ours.settimeout(60)
        theirs.settimeout(60)
        ours.sendto(b"ask", (OUTSIDE[version], OUTSIDE_PORT))
        _, seen = theirs.recvfrom(100)
        theirs.sendto(b"answer", seen)
        assert ours.recv(100) == b"answer"
        return *ours.getsockname()[:2], OUTSIDE[version], OUTSIDE_PORT, *seen[:2]


def _tcp(top: Topology, version: int) -> tuple[str, int, str, int, str, int]:
    """The same over TCP, to the end of the connection."""
    address = (OUTSIDE[version], OUTSIDE_PORT)
    kind = family(version)
    listener = inside_thread(top.outside, lambda: socket.create_server(address, family=kind))
    seen = []

    def serve() -> None:
        connection, peer = listener.accept()
        seen.extend(peer[:2])
        with connection:
            connection.sendall(connection.recv(100))

    server = threading.Thread(target=serve)
    with listener:
        server.start()
        source = (SNAT_CLIENT[version], 0)
        with inside_thread(
            top.vpc, lambda: socket.create_connection(address, 60, source_address=source)
        ) as ours:
            ours.sendall(b"ask")
            assert ours.recv(100) == b"ask"
            mine = ours.getsockname()[:2]
        server.join(60)
    return *mine, *address, *seen


def _ping(top: Topology, version: int) -> tuple[str, int, str, int, str, int]:
    """The same by an echo request; there are no ports."""
    kind, protocol = {4: (8, socket.IPPROTO_ICMP), 6: (128, socket.IPPROTO_ICMPV6)}[version]

    def make() -> socket.socket:
        made = socket.socket(family(version), socket.SOCK_RAW, protocol)
        made.bind((SNAT_CLIENT[version], 0))
        made.settimeout(60)
        return made

    packet = struct.pack("!BBHHH", kind, 0, 0, 77, 1)
    checksum = 0xFFFF - sum(struct.unpack("!4H", packet)) % 0xFFFF
    with inside_thread(top.vpc, make) as ours:
        # For IPv6 the kernel computes the checksum itself.
        ours.sendto(struct.pack("!BBHHH", kind, 0, checksum, 77, 1), (OUTSIDE[version], 0))
        ours.recv(100)
    return SNAT_CLIENT[version], 0, OUTSIDE[version], 0, EXTERNAL[version], 0


SENT = {"udp": _udp, "tcp": _tcp, "icmp": _ping}
NUMBERS = {"udp": 17, "tcp": 6, "icmp": 1, "icmpv6": 58}


def _ends(source: str, port: int, destination: str, to: int) -> dict[str, Any]:
    found = {"sourceIP": source, "sourcePort": port, "destinationIP": destination}
    return {key: value for key, value in {**found, "destinationPort": to}.items() if value != 0}


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in names}


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_records_and_metrics_say_what_was_sent_and_as_whom_it_was_seen(
    pod: Pod, version: int
) -> None:
    top, observer = pod.top, pod.observer
    observer.write(EVERYTHING)
    sent = {}
    with observer.running():
        observer.is_watching()
        for name, send in SENT.items():
            sent[name + ("v6" if (name, version) == ("icmp", 6) else "")] = send(top, version)
        with conversation(top, DIRECT_CLIENT[version], version) as (ours, theirs):
            exchange(ours, theirs, version)  # not translated: none of its business
        starts = observer.wait_for_records(3, "start")
        active = observer.metric("conntrack_nat_flows_active", address_family=f"ipv{version}")
        forget_all(top.gateway)
        ends = observer.wait_for_records(3, "end")
        observer.wait_for(0, "conntrack_nat_flows_active")
        assert observer.metric("conntrack_nat_flows_started_total", nat_type="snat") == 3
        assert observer.metric("conntrack_nat_flows_ended_total", protocol="tcp") == 1
        assert observer.metric("observability_log_records_total") == 6
        assert observer.metric("observability_conntrack_accounting_available") == 1
        assert observer.metric("observability_collector_up", collector="interface") == 1
        assert observer.metric("interface_rx_packets_total", type="external") > 3
        counted = {
            name: observer.metric(f"conntrack_nat_{name}_total", protocol="udp")
            for name in ("packets", "bytes")
        }
        assert observer.ends() == 0
    assert active == len(sent) == len(starts) == len(ends)
    header = {4: 20, 6: 40}[version]
    figures = {"originalPackets": 1, "replyPackets": 1}
    figures |= {"originalBytes": header + 8 + 3, "replyBytes": header + 8 + 6}
    for name, (source, port, destination, to, shown, shown_port) in sent.items():
        (start,) = (each for each in starts if each["protocol"] == name)
        (end,) = (each for each in ends if each["protocol"] == name)
        assert _without(start, "timestamp", "conntrackID") == {
            "schemaVersion": "v1",
            "event": "start",
            "zone": 0,
            "namespace": "default",
            "name": "gateway1",
            "pod": "pod-1",
            "node": "worker-1",
            "addressFamily": f"ipv{version}",
            "protocol": name,
            "protocolNumber": NUMBERS[name],
            "natType": ["snat"],
            "original": _ends(source, port, destination, to),
            "translated": _ends(shown, shown_port, destination, to),
        }
        assert _without(end, "timestamp", "event", "counters") == _without(
            start, "timestamp", "event"
        )
        assert start["timestamp"] <= end["timestamp"]
        assert end["counters"].keys() == figures.keys()
        assert min(end["counters"].values()) > 0
        if name == "udp":
            assert end["counters"] == figures
    assert counted == {"packets": 2, "bytes": figures["originalBytes"] + figures["replyBytes"]}
    assert len(observer.records()) == 6


def test_without_accounting_there_are_no_counters_and_it_is_told(pod: Pod) -> None:
    pod.setting("acct", 0)
    observer = pod.observer
    observer.write(EVERYTHING)
    with observer.running():
        observer.is_watching()
        _udp(pod.top, 4)
        observer.wait_for_records(1, "start")
        forget_all(pod.top.gateway)
        (end,) = observer.wait_for_records(1, "end")
        assert "counters" not in end
        assert observer.metric("observability_conntrack_accounting_available") == 0
        assert "conntrack_nat_bytes_total{" not in observer.page("metrics")
        assert "nf_conntrack_acct is 0" in observer.said()


def test_the_configuration_is_followed_and_a_bad_one_is_refused(pod: Pod) -> None:
    top, observer = pod.top, pod.observer
    observer.write(_log(filters={"include": [{"protocols": ["tcp"]}]}, events=["start"]))
    reload = "observability_config_reload_total"
    with observer.running():
        observer.is_watching()
        _udp(top, 4)
        _tcp(top, 4)
        assert [each["protocol"] for each in observer.wait_for_records(1)] == ["tcp"]
        wrong = {"original": {"sourceCIDRs": ["192.168.1.0/33"]}}
        observer.write(_log(filters={"exclude": [wrong]}))
        observer.wait_for(1, reload, result="error")
        place = "observability.conntrack.log.filters.exclude[0].original.sourceCIDRs[0]"
        message = f"{place}: '192.168.1.0/33' is not a network; write ADDRESS/LENGTH, for"
        assert message in observer.said()
        _udp(top, 6)
        _tcp(top, 6)
        found = observer.wait_for_records(2)
        assert [(each["protocol"], each["addressFamily"]) for each in found[1:]] == [
            ("tcp", "ipv6")
        ]
        excluded = {"translated": {"sourceCIDRs": [f"{EXTERNAL[6]}/128"]}}
        observer.write(_log(filters={"exclude": [excluded]}, events=["end"]))
        observer.wait_for(2, reload, result="success")
        forget_all(top.gateway)
        found = observer.wait_for_records(4)
        assert {(each["event"], each["addressFamily"]) for each in found[2:]} == {("end", "ipv4")}
        assert {each["protocol"] for each in found[2:]} == {"tcp", "udp"}
        # Without log and metrics nobody watches any more.
        observer.write({})
        observer.wait_for(0, "observability_collector_up", collector="conntrack")
        _udp(top, 4)
        observer.write(EVERYTHING)
        observer.is_watching()
        assert observer.metric("conntrack_nat_flows_active") == 1
        assert len(observer.records()) == 4
        # What has not changed is not read again.
        time.sleep(3)
        assert observer.metric(reload, result="error") == 1
        assert observer.metric(reload, result="success") == 4


def test_a_flood_is_limited_and_what_is_left_out_is_counted(pod: Pod) -> None:
    observer, count = pod.observer, 3_000
    limit = {"recordsPerSecond": 1, "burst": 100}
    observer.write({**METRICS, "log": {"enabled": True, "events": ["start"], "rateLimit": limit}})
    with observer.running():
        observer.is_watching()
        _flood(pod.top, count)
        observer.wait_for(count, "conntrack_nat_flows_started_total")
        observer.wait_for(count, "conntrack_nat_flows_active")
        dropped = observer.metric("observability_log_drops_total", reason="rate_limit")
        assert 100 <= len(observer.wait_for_records(int(count - dropped))) < count / 2
        assert len(observer.records()) == count - dropped
        assert observer.metric("observability_conntrack_events_total", event="lost") == 0


def test_a_standard_output_that_nobody_reads_holds_nothing_up(pod: Pod) -> None:
    observer, count = pod.observer, 6_000
    observer.write(EVERYTHING)
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as reader:
        with observer.running(stdout=writable):
            os.close(writable)
            observer.is_watching()
            _flood(pod.top, count)
            observer.wait_for(count, "conntrack_nat_flows_active")
            assert observer.metric("observability_log_drops_total", reason="queue_full") > 0
            written = observer.metric("observability_log_records_total")
            assert written < count / 2
            forget_all(pod.top.gateway)
            observer.wait_for(0, "conntrack_nat_flows_active")
            assert observer.page("healthz") == "ok\n"
            assert observer.ends() == 0
        assert "flow records were not written: nobody reads standard output" in observer.said()
        lines = reader.read().splitlines(keepends=True)
    # What is in the pipe is whole, but for the line at which it was full.
    assert len([json.loads(each) for each in lines if each.endswith(b"\n")]) >= written
    assert len(lines) < count / 2


def test_what_is_queued_at_the_end_is_written_if_somebody_reads(pod: Pod) -> None:
    observer, count = pod.observer, 4_000
    observer.write(EVERYTHING)
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb"), observer.running(stdout=writable):
        os.close(writable)
        observer.is_watching()
        _flood(pod.top, count)
        observer.wait_for(count, "conntrack_nat_flows_started_total")
        assert observer.metric("observability_log_records_total") < count
        observer.process.terminate()
        data = b""
        while part := os.read(readable, 65_536):
            data += part
            time.sleep(0.01)  # so that it would have ended meanwhile
        lines = data.splitlines()
        assert observer.process.wait(50) == 0
        assert "not written" not in observer.said()
    assert len({json.loads(each)["conntrackID"] for each in lines}) == len(lines) == count


def test_lost_events_are_made_up_for_by_a_look_at_the_table(pod: Pod) -> None:
    top, observer, count = pod.top, pod.observer, 500
    _udp(top, 6)  # before anybody listens: the kernel will not tell of its end
    observer.write(EVERYTHING)
    with observer.running("--receive-buffer", "8192"):
        observer.is_watching()
        assert observer.metric("conntrack_nat_flows_active") == 1
        with observer.stopped():
            _flood(top, count)
        starts = observer.wait_for_records(count, "start")
        observer.wait_for(count + 1, "conntrack_nat_flows_active")
        assert observer.metric("observability_errors_total", operation="receive") >= 1
        lost = observer.metric("observability_conntrack_events_total", event="lost")
        assert 0 < lost < count
        assert "events of connections were lost" in observer.said()
        with observer.stopped():
            forget_all(top.gateway)
        ends = observer.wait_for_records(count + 1, "end")
        observer.wait_for(0, "conntrack_nat_flows_active")
        assert observer.metric("observability_conntrack_events_total", event="lost") > lost
        assert observer.ends() == 0
    ports = [each["original"]["destinationPort"] for each in starts]
    assert sorted(ports) == list(range(10_000, 10_000 + count))
    assert len(observer.records()) == 2 * count + 1
    (old,) = (each for each in ends if each["addressFamily"] == "ipv6")
    # What the event would have told is not known.
    assert "counters" not in old
    pairs = {each["conntrackID"]: each["original"] for each in starts}
    assert {e["conntrackID"]: e["original"] for e in ends if e is not old} == pairs
    assert sum("counters" in each for each in ends) >= 1


def test_without_the_capability_it_tells_and_interfaces_are_still_counted(pod: Pod) -> None:
    observer = pod.observer
    observer.write(EVERYTHING)
    with observer.running(capabilities="-all"):
        eventually(lambda: observer.metric("observability_errors_total") > 1, "it tries again")
        assert observer.metric("observability_collector_up", collector="conntrack") == 0
        assert observer.metric("observability_collector_up", collector="interface") == 1
        words = "connections cannot be watched: not permitted; give the container the capability"
        assert observer.said().count(words) == 1


def test_without_multus_word_connections_are_still_watched(pod: Pod) -> None:
    observer = pod.observer
    observer.write(EVERYTHING)
    with observer.running("--network-status", "/does-not-exist"):
        observer.is_watching()
        assert observer.metric("observability_collector_up", collector="interface") == 0
        assert observer.metric("observability_errors_total", collector="interface") > 0
        words = "--network-status /does-not-exist: No such file or directory; give the file with"
        assert observer.said().count(words) == 1


def test_with_a_bad_configuration_it_stays_up_and_waits_for_a_better_one(pod: Pod) -> None:
    observer = pod.observer
    observer.write({"log": {"enabled": 1}})
    with observer.running():
        observer.wait_for(1, "observability_config_reload_total", result="error")
        assert observer.metric("observability_collector_up") == 0
        place = "observability.conntrack.log.enabled"
        assert f"{place}: 1 is neither true nor false; write true or false" in observer.said()
        observer.config.unlink()
        observer.wait_for(2, "observability_config_reload_total", result="error")
        assert "cannot be read (No such file or directory)" in observer.said()
        observer.write(EVERYTHING)
        observer.is_watching()
        assert 'namespace="default"' in observer.page("metrics")


def test_where_the_kernel_tells_nothing_it_is_said(pod: Pod) -> None:
    observer = pod.observer
    observer.write(EVERYTHING)
    pod.setting("events", 0)
    with observer.running():
        eventually(lambda: "nf_conntrack_events is 0; set it to 1" in observer.said(), "told")
        pod.setting("events", 1)
        observer.is_watching()


def _script(pod: Pod, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return run(pod.top.gateway, "env", f"PATH={path}", str(SCRIPT), *arguments, check=False)


def test_the_health_check_asks_who_runs(pod: Pod) -> None:
    done = _script(pod, "--health-check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"the observer is not well: port {PORT} does not answer (Connection refused)\n"
    )
    observer = pod.observer
    observer.write({})
    with observer.running():
        done = _script(pod, "--health-check")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        with observer.stopped():
            done = _script(pod, "--health-check")
            assert done.returncode == 1
            assert "does not answer (timed out)" in done.stderr
