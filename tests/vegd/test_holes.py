"""Which families are cut off by what an attempt has left undone."""

import pytest

from dataplane.diff import diff
from dataplane.model import DataplaneState
from dataplane.plan import Op, Plan
from dataplane.render import render
from tests.support.dataplane import gateway_intent, policy
from vegd.holes import families_without_path

DESIRED = render(gateway_intent())
ALL = diff(DataplaneState(), DESIRED)


def _named(text: str) -> Op:
    return next(op for op in ALL.ops if text in str(op))


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("link net1", {4, 6}),
        ("address 172.17.0.11/16", {4}),
        ("address fd00::2/64", {6}),
        ("route default via 172.17.0.1", {4}),
        ("route default (IPv6) via fd17::1", {6}),
        ("rule 1002 iif net1 (IPv6)", {6}),
        ("net/ipv4/ip_forward", {4}),
        ("net/ipv6/conf/all/forwarding", {6}),
        ("icmp_errors_use_inbound_ifaddr", set()),
        ("nft table", {4, 6}),
    ],
)
def test_what_is_missing_cuts_off_its_family(text: str, families: set[int]) -> None:
    assert families_without_path(Plan((_named(text),)), None) == families


def test_what_could_not_be_removed_cuts_off_nobody() -> None:
    left = diff(DESIRED, DataplaneState())
    assert families_without_path(left, DESIRED.nft) == set()


def test_a_table_that_stands_as_it_was_forwards_on_when_its_change_is_refused() -> None:
    after = render(gateway_intent(policies=(policy("new", "10.0.0.0/8"),)))
    left = diff(DESIRED, after)
    assert families_without_path(left, DESIRED.nft) == set()
    assert families_without_path(left, after.nft) == {4, 6}
