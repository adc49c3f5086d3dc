"""The definitions as documents: what they say of vegd agrees with what vegd takes."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.definitions import GROUP, gateway_definition, gateways, kube_ovn_definitions
from vegd.spec import GatewaySpec, SpecError

_CASES = yaml.safe_load((Path(__file__).parents[1] / "fixtures/kube/gateways.yaml").read_text())[
    "cases"
]
_AGENT: dict[str, Any] = _CASES["what vegd does besides"]["spec"]["agent"]
_PLACES = {"snat": ("external", "snat"), "announce": ("external", "announce")}
"""Fields of ``spec.agent`` that stand elsewhere in the configuration file."""

Path_ = tuple[str | int, ...]


def _document() -> dict[str, Any]:
    """A configuration with everything that the example under ``spec.agent`` has."""
    agent = copy.deepcopy(_AGENT)
    return {
        "internal": {"interface": "eth0", "addresses": ["192.168.0.2/24"]}
        | {"gateways": ["192.168.0.1"]},
        "external": {"interface": "net1", "addresses": ["172.17.0.2/16", "fd17::2/64"]}
        | {"gateways": ["172.17.0.1", "fd17::1"]}
        | {name: agent.pop(name) for name in _PLACES},
        "bfd": {"peers": [{"address": "10.255.255.255"}]} | agent.pop("bfd"),
    } | agent


def _numbers(schema: Any, path: Path_) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """The numbers in a schema; of a list its first entry."""
    for name, each in schema.get("properties", {}).items():
        yield from _numbers(each, (*path, name))
    if "items" in schema:
        yield from _numbers(schema["items"], (*path, 0))
    if schema.get("type") == "integer":
        yield path, schema


def _agent_schema() -> Any:
    version = gateway_definition()["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec["properties"]["agent"]


_NUMBERS = dict(_numbers(_agent_schema(), ()))


def _complaints(path: Path_, value: int) -> str:
    """What vegd says of a configuration with a value there."""
    document = _document()
    place: Any = document
    for step in (*_PLACES.get(str(path[0]), path[:1]), *path[1:-1]):
        place = place[step]
    place[path[-1]] = value
    try:
        GatewaySpec.parse(document)
    except SpecError as exc:
        return str(exc)
    return ""


def test_everything_under_agent_is_a_configuration_of_vegd() -> None:
    GatewaySpec.parse(_document())


@pytest.mark.parametrize("path", _NUMBERS, ids=lambda path: ".".join(map(str, path)))
def test_numbers_under_agent_have_the_bounds_of_the_configuration(path: Path_) -> None:
    schema = _NUMBERS[path]
    low, high = schema["minimum"], schema["maximum"]
    remedy = f"give {low} to {high}"
    assert [remedy in _complaints(path, value) for value in (low, high)] == [False, False]
    assert [remedy in _complaints(path, value) for value in (low - 1, high + 1)] == [True, True]


def test_a_group_of_our_own_leaves_kube_ovns_names_alone() -> None:
    theirs, ours = gateway_definition(), gateway_definition("egress.example.com")
    assert theirs["metadata"]["name"] == f"vpc-egress-gateways.{GROUP}"
    assert ours["metadata"]["name"] == "vpc-egress-gateways.egress.example.com"
    names = [set(each["spec"]["names"]["shortNames"]) for each in (theirs, ours)]
    assert not names[0] & names[1]
    assert ours["spec"]["versions"] == theirs["spec"]["versions"]
    assert gateways("egress.example.com").path("ns", "a") == (
        "/apis/egress.example.com/v1/namespaces/ns/vpc-egress-gateways/a"
    )


def test_definitions_name_themselves_by_plural_and_group() -> None:
    for each in (gateway_definition(), *kube_ovn_definitions()):
        spec = each["spec"]
        assert each["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
