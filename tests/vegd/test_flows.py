"""``vegd flows`` and ``vegd policies``: rows, filters and sums, without a kernel."""

from ipaddress import ip_address, ip_network

import pytest
from typer.testing import CliRunner

from dataplane.kernel import PolicyCounter
from dataplane.model import Connection, Flow
from dataplane.stale import Judge
from tests.support.dataplane import gateway_intent
from tests.vegd.spec_documents import good
from vegd.cli import policies
from vegd.cli.app import app
from vegd.flows import Filter, rows, summed
from vegd.spec import GatewaySpec

UDP = 17


def _connection(
    source: str, destination: str = "198.51.100.1", shown: str | None = None, port: int = 4000
) -> Connection:
    return Connection(
        UDP,
        ip_address(source),
        port,
        ip_address(destination),
        53,
        ip_address(shown or source),
        port + 1 if shown else port,
        shown is not None,
    )


TRANSLATED = _connection("192.168.1.10", shown="172.17.0.11")
AS_IT_IS = _connection("192.168.2.10")


@pytest.mark.parametrize(
    ("wanted", "translated", "as_it_is"),
    [
        (Filter(), True, True),
        (Filter(source=ip_network("192.168.1.0/24")), True, False),
        (Filter(source=ip_network("fd01::/64")), False, False),
        (Filter(destination=ip_network("198.51.100.0/24")), True, True),
        (Filter(destination=ip_network("198.51.101.0/24")), False, False),
        (Filter(external=ip_address("172.17.0.11")), True, False),
        (Filter(external=ip_address("192.168.2.10")), False, False),
        (Filter(external_port=4001), True, False),
        (Filter(external_port=4000), False, False),
        (Filter(protocol=UDP), True, True),
        (Filter(protocol=6), False, False),
        (Filter(source=ip_network("192.168.1.10"), protocol=6), False, False),
    ],
)
def test_a_filter_lets_through_what_fits_all_of_it(
    wanted: Filter, translated: bool, as_it_is: bool
) -> None:
    assert (wanted(TRANSLATED), wanted(AS_IT_IS)) == (translated, as_it_is)


def _rows(*connections: Connection) -> list[dict[str, object]]:
    intent = gateway_intent()
    judge = Judge(intent, intent.sources(), ())
    return rows(judge, [Flow(each, 1, 100, 2, 200) for each in connections])


def test_a_flow_is_told_with_its_policy_and_what_it_shows() -> None:
    translated, as_it_is = _rows(TRANSLATED, AS_IT_IS)
    assert (translated["policy"], as_it_is["policy"]) == ("vpc", "direct")
    assert (translated["external"], translated["external_port"]) == ("172.17.0.11", 4001)
    assert (as_it_is["external"], as_it_is["external_port"]) == (None, None)
    assert (translated["protocol"], translated["bytes_out"], translated["bytes_in"]) == (
        "udp",
        100,
        200,
    )


def test_a_source_without_snat_may_be_called_and_our_own_connections_are_left_out() -> None:
    called = _connection("198.51.100.1", "192.168.2.10")
    own = _connection("172.17.0.11")
    left_over = _connection("192.168.77.1", shown="172.17.0.11")
    assert [(each["source"], each["policy"]) for each in _rows(called, own, left_over)] == [
        ("198.51.100.1", "direct"),
        ("192.168.77.1", None),
    ]


def test_sums_are_by_source_external_address_and_protocol() -> None:
    second = _connection("192.168.1.10", "198.51.100.2", "172.17.0.11", 4100)
    elsewhere = _connection("192.168.1.10", shown="172.17.0.12")
    first, other = summed(_rows(TRANSLATED, second, elsewhere))
    assert (first["external"], first["connections"], first["bytes_out"]) == ("172.17.0.11", 2, 200)
    assert (other["external"], other["connections"], other["packets_in"]) == ("172.17.0.12", 1, 2)


def test_a_policy_has_a_row_for_each_family_it_lists() -> None:
    counters = (
        PolicyCounter("vpc", "out", 4, 3, 300),
        PolicyCounter("vpc", "in", 4, 2, 200),
        PolicyCounter("gone", "out", 4, 1, 1),
    )
    found = policies.rows(GatewaySpec.parse(good()), counters)
    assert [(each["policy"], each["family"]) for each in found] == [
        ("vpc", "ipv4"),
        ("vpc", "ipv6"),
        ("direct", "ipv4"),
    ]
    assert found[0]["out"] == {"packets": 3, "bytes": 300}
    assert found[0]["in"] == {"packets": 2, "bytes": 200}
    assert found[1]["out"] is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--source", "10.0.0.1/8"), "has bits set behind the prefix length; write 10.0.0.0/8"),
        (("--destination", "here"), "is not a prefix"),
        (("--external", "10.0.0.0/8"), "write the address alone: 10.0.0.0"),
        (("--protocol", "tpc"), "is no protocol; give one of icmp, tcp,"),
        (("--protocol", "256"), "a number up to 255"),
        (("--external-port", "0"), "not in the range"),
    ],
)
def test_a_bad_filter_is_a_usage_error(arguments: tuple[str, str], complaint: str) -> None:
    done = CliRunner().invoke(app, ["flows", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    said = " ".join(done.stderr.replace("│", " ").split())
    assert arguments[0] in said
    assert complaint in said
