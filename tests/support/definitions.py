"""Definitions in a control plane of the tests, and gateways as Kube-OVN's definition takes them."""

import copy
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kube.objects import Resource
from vegd.lab.cluster.control_plane import ControlPlane

DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
_ESTABLISHED_S = 120
_RULES = ("x-kubernetes-validations", "maxItems", "maxLength", "maxProperties")


def install(plane: ControlPlane, definitions: Iterable[Mapping[str, Any]]) -> None:
    """Apply definitions, and wait until the API server serves them."""
    for each in definitions:
        name = each["metadata"]["name"]
        plane.request(
            "PATCH",
            f"{DEFINITIONS.path(name=name)}?fieldManager=tests&force=true",
            each,
            content_type="application/apply-patch+yaml",
        )
        end = time.monotonic() + _ESTABLISHED_S
        while not _is_established(plane.request("GET", DEFINITIONS.path(name=name))):
            assert time.monotonic() < end, f"{name} is not established"
            time.sleep(0.05)


def _is_established(definition: Mapping[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def as_kube_ovn_has_it(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The gateway's definition with Kube-OVN's fields and limits, and without what is ours."""
    theirs = copy.deepcopy(dict(definition))
    schema = theirs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    _drop_rules(schema)
    spec, status = (schema["properties"][name]["properties"] for name in ("spec", "status"))
    del spec["agent"], status["gateways"], schema["properties"]["status"]["default"]
    for name in ("minRX", "minTX", "multiplier"):
        spec["bfd"]["properties"][name]["maximum"] = 3_600_000
    del status["conditions"]["default"]
    del status["conditions"]["x-kubernetes-list-type"]
    del status["conditions"]["x-kubernetes-list-map-keys"]
    return theirs


def _drop_rules(schema: Any) -> None:
    if isinstance(schema, dict):
        for name in _RULES:
            schema.pop(name, None)
        for each in schema.values():
            _drop_rules(each)
    elif isinstance(schema, list):
        for each in schema:
            _drop_rules(each)
