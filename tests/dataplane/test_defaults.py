"""The machine's own default routes, for a source that does not name the next hop outside."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tests.support.dataplane import build, with_kernel
from tests.support.netns import ip

pytestmark = pytest.mark.kernel


def test_default_gateways_are_those_of_the_main_table_the_preferred_first(
    netns: Callable[[str], str],
) -> None:
    gateway = build(netns).gateway
    for address in ("192.168.0.2/24", "fd00::2/64"):
        ip("address", "add", address, "dev", "eth0", ns=gateway)
    for version, metric, via in (
        (4, 200, "192.168.0.20"),
        (4, 100, "192.168.0.10"),
        (6, 300, "fd00::30"),
    ):
        ip(
            *(f"-{version}", "route", "add", "default", "via", via, "dev", "eth0"),
            *("metric", str(metric)),
            ns=gateway,
        )
    ip("route", "add", "default", "via", "192.168.0.40", "table", "1001", ns=gateway)
    ip("route", "add", "10.0.0.0/8", "via", "192.168.0.50", ns=gateway)
    ip("route", "add", "default", "dev", "eth0", "metric", "50", ns=gateway)
    found = with_kernel(gateway, lambda kernel: kernel.default_gateways())
    assert found == tuple(map(ip_address, ("192.168.0.10", "192.168.0.20", "fd00::30")))
