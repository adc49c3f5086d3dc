"""From a gateway to what its running pods follow: the ConfigMap with vegd's configuration. Pure.

It bears a revision, which grows with every change, so that pods can tell which of two copies is the
newer one, and report which one they have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from kube.identity import Identity
from kube.layout import CONFIG_FILE
from kube.workload import (
    EXTERNAL_INTERFACE,
    INTERNAL_INTERFACE,
    Json,
    Workload,
    metadata,
)

_EXTERNAL = ("snat", "announce")
"""Sections of `spec.agent` that the configuration has in `external`."""
_OTHERS = ("watch",)
"""Sections that are the controller's business alone."""
_ROUTER_TTL = 254
"""OVN sends BFD with 255, and the VPC's router takes one away before the pod's subnet."""
_ANNOUNCE_AFTER_S = 2
"""A pod that is deleted loses its traffic by the controller first (`kube.slots`), in well under a
second; AdminDown is for when that one is away."""
_REVISION = "revision: "


class Stamped(NamedTuple):
    """A configuration as a text, and its revision."""

    revision: int = 0
    text: str = ""
    """All but the revision."""


def text_of(workload: Workload) -> str:
    """The configuration without a revision, as it is written."""
    return yaml.safe_dump(configuration(workload), sort_keys=False)


def read_stamped(config_map: Mapping[str, Any]) -> Stamped:
    """What a ConfigMap has; one that was edited by hand may have no revision, which is 0."""
    text = str((config_map.get("data") or {}).get(CONFIG_FILE, ""))
    first, _, rest = text.partition("\n")
    number = first.removeprefix(_REVISION)
    if first.startswith(_REVISION) and number.isascii() and number.isdecimal():
        return Stamped(int(number), rest)
    return Stamped(0, text)


def stamped(text: str, there: Stamped, written: Stamped, reported: int) -> Stamped:
    """A configuration with its revision: that of the one that is there, if it says the same, else
    a higher one than any that pods can have seen.

    `there` is the ConfigMap as it was last seen, which may be old; `written` what we wrote last;
    `reported` the highest revision that a pod has.
    """
    newest = max(there.revision, written.revision)
    for each in (there, written):
        if each.text == text and each.revision == newest > 0:
            return each
    return Stamped(max(newest, reported) + 1, text)


def config_map(workload: Workload, identity: Identity, stamp: Stamped) -> Json:
    """What the running pods follow: vegd's configuration, and that of the observer."""
    data = {CONFIG_FILE: f"{_REVISION}{stamp.revision}\n{stamp.text}"}
    if workload.observability is not None:
        data["observer.json"] = json.dumps(_observer(workload), sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(workload, identity, identity.config_name(workload)),
        "data": data,
    }


def configuration(workload: Workload) -> Json:
    """vegd's configuration (``docs/configuration.md``): the same for every pod of the gateway."""
    document: Json = {
        "internal": {"interface": INTERNAL_INTERFACE, "gateways": [*workload.internal.gateways]},
        "external": {"interface": EXTERNAL_INTERFACE, "gateways": [*workload.external.gateways]},
        "policies": [
            {"name": each.name, "snat": each.snat, "ipBlocks": [*each.ip_blocks]}
            for each in workload.policies
        ],
    }
    if workload.bfd is not None:
        document["bfd"] = {
            "minTX": workload.bfd.min_tx,
            "minRX": workload.bfd.min_rx,
            "multiplier": workload.bfd.multiplier,
            "minTTL": _ROUTER_TTL,
            "peers": [{"address": peer} for peer in workload.bfd.peers],
        }
        document["drain"] = {"announceAfter": _ANNOUNCE_AFTER_S}
    _add_agent(document, workload.agent)
    return document


def _add_agent(document: Json, wish: Mapping[str, Any]) -> None:
    """What the resource has for vegd alone: policies beside the others, the rest in its place."""
    for section, value in wish.items():
        if section in _OTHERS:
            continue
        if section == "policies":
            document["policies"] += value
        elif section in _EXTERNAL:
            document["external"][section] = value
        else:
            document[section] = _merged(document.get(section), value)


def _observer(workload: Workload) -> Json:
    return {
        "namespace": workload.namespace,
        "name": workload.name,
        "externalNetwork": workload.network,
        "observability": workload.observability,
    }


def _merged(base: Any, wish: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(wish, Mapping):
        return wish
    return base | {key: _merged(base.get(key), value) for key, value in wish.items()}
