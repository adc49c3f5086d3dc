"""Texts of the configuration that have vectors of their own."""

import pytest

from vegd.document import Refusal
from vegd.texts import read_bandwidth, read_mac


@pytest.mark.parametrize(
    ("text", "mbits"),
    [
        ("100", 100),
        ("100M", 100),
        ("100Mi", 105),
        ("1G", 1000),
        ("1Gi", 1074),
        (".5Gi", 537),
        ("1.5G", 1500),
        ("0", 0),
    ],
)
def test_bandwidth_is_read_as_the_resource_has_it(text: str, mbits: int) -> None:
    assert read_bandwidth(text) == mbits


@pytest.mark.parametrize(
    "text", ["-1", "", "1.5", "500k", "1T", "1e6", "1GB", "9223372036855", "34360", "35G"]
)
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    assert isinstance(read_bandwidth(text), Refusal)


def test_mac_addresses() -> None:
    assert read_mac("02:AB:00:00:00:01") == "02:ab:00:00:00:01"
    for wrong in ("02:ab", "01:00:00:00:00:01", "00:00:00:00:00:00", "02-ab-00-00-00-01"):
        assert isinstance(read_mac(wrong), Refusal)
