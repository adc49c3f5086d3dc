"""Moving a gateway between Kube-OVN's controller and ours, without a moment without any.

The resource is made anew in the other API group. When that one is ready, and BFD is healthy where
it has BFD, the old one is deleted, and its controller takes away what it had made. In between both
cover the sources. Whatever goes wrong before, the old one stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kube import conditions, definitions
from kube.client import Client
from kube.errors import AlreadyExists, KubeError, NotFound
from kube.objects import Object, Resource
from vegd.errors import VegdError

_LOOK_S = 1.0
_FIXED = ("internalIPs", "externalIPs")


class NotMoved(VegdError):
    """The gateway stays where it was."""


async def move(
    client: Client,
    key: str,
    groups: tuple[str, str],
    timeout_s: float,
    tell: Callable[[str], None],
) -> None:
    """Move a gateway, ``<namespace>/<name>``, from the first API group to the second.

    Raises NotMoved, having removed what it had made.
    """
    namespace, _, name = key.partition("/")
    if not namespace or not name or "/" in name:
        raise NotMoved(f"{key!r} names no gateway; give NAMESPACE/NAME")
    source, target = map(definitions.gateways, groups)
    try:
        old = await client.get(source, name, namespace)
        _check_addresses(old)
        begun = await _make(client, target, old)
        tell(f"{key} stands in {target.group}, beside the one in {source.group}")
        try:
            await _until_ready(client, target, key, timeout_s, tell)
        except BaseException:
            if begun:
                await client.delete(target, name, namespace)
            raise
        await client.delete(source, name, namespace, uid=old["metadata"]["uid"])
        tell(f"{key} in {source.group} is deleted; waiting until it is gone")
        await _until_gone(client, source, key, timeout_s)
    except NotFound as exc:
        raise NotMoved(f"{key}: {exc}; nothing was changed") from exc
    except KubeError as exc:
        raise NotMoved(f"{key}: {exc}") from exc


def _check_addresses(old: Object) -> None:
    """For a while twice as many pods want addresses."""
    spec: dict[str, Any] = old.get("spec") or {}
    replicas = int(spec.get("replicas", 1))
    for field in _FIXED:
        listed = spec.get(field) or ()
        if listed and len(listed) < 2 * replicas:
            raise NotMoved(
                f"spec.{field}: {len(listed)} addresses are too few, as both gateways run for a "
                f"while; list {2 * replicas} and shorten the list afterwards"
            )


async def _make(client: Client, target: Resource, old: Object) -> bool:
    """Whether it was made; one that is there from an earlier attempt is gone on with."""
    metadata = old["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    value = {
        "apiVersion": target.api_version,
        "kind": target.kind,
        "metadata": kept,
        "spec": old["spec"],
    }
    try:
        await client.create(target, value)
    except AlreadyExists:
        there = await client.get(target, kept["name"], kept["namespace"])
        if there["spec"] != old["spec"]:
            raise NotMoved(
                f"{kept['namespace']}/{kept['name']} is there in {target.group} with another spec; "
                "delete it, or make both alike"
            ) from None
        return False
    return True


async def _until_ready(
    client: Client, target: Resource, key: str, timeout_s: float, tell: Callable[[str], None]
) -> None:
    namespace, _, name = key.partition("/")
    last, why = "", "it has no status yet: does a controller serve that group?"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                value = await client.get(target, name, namespace)
                why = _missing(value) or ""
                if not why:
                    return
                if why != last:
                    tell(f"waiting: {why}")
                    last = why
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise NotMoved(
            f"{key} in {target.group} is not ready after {timeout_s:g} s: {why}; the old one stays"
        ) from None


def _missing(value: Object) -> str | None:
    """Why it is not ready yet; Kube-OVN has no condition about BFD."""
    status: dict[str, Any] = value.get("status") or {}
    found = {each.type: each for each in conditions.parse(status)}
    for kind in ("Ready", "BFDHealthy"):
        each = found.get(kind)
        if each is not None and each.status != conditions.TRUE:
            return f"{kind} is {each.status}: {each.message or each.reason}"
    if not status.get("ready"):
        return "it has no status yet: does a controller serve that group?"
    return None


async def _until_gone(client: Client, source: Resource, key: str, timeout_s: float) -> None:
    namespace, _, name = key.partition("/")
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                await client.get(source, name, namespace)
                await asyncio.sleep(_LOOK_S)
    except NotFound:
        return
    except TimeoutError:
        raise NotMoved(
            f"{key} in {source.group} is deleted, but its controller has not let it go after "
            f"{timeout_s:g} s; the new one is in use"
        ) from None
