"""The volumes of a pod, as directories of the node: made once, renewed while the pod runs.

What they are filled from changes in the API server: ConfigMaps, the pod's own annotations, and the
token of its ServiceAccount. All files of a volume change in one step.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.template import (
    ConfigMapSource,
    Container,
    DownwardSource,
    PodSpec,
    TokenSource,
    Volume,
)

_numbers = itertools.count(1)
_RENEW_AT = 0.8
"""Of a token's life."""


class Mount(NamedTuple):
    """A directory or file of the node in a container."""

    source: Path
    target: str
    read_only: bool


class Token(NamedTuple):
    """A credential, and how long it is good for."""

    text: str
    lasts_s: float


class Cluster(Protocol):
    """Whom the content comes from."""

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap, None if it is not there."""

    async def token(self, facts: PodFacts, source: TokenSource) -> Token:
        """A new token for a pod. Raises KubeError."""


class File(NamedTuple):
    """One file of a volume."""

    text: str
    mode: int


class Volumes:
    """Of one pod."""

    def __init__(self, spec: PodSpec, directory: Path) -> None:
        self._directory = directory
        self._volumes = {each.name: each for each in spec.volumes}
        self._written: dict[str, Mapping[str, File]] = {}
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        """By volume and path: the token, and when it is to be renewed (monotonic clock)."""
        for name in self._volumes:
            place = directory / name
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)

    def mounts(self, container: Container) -> tuple[Mount, ...]:
        """Those of a container."""
        return tuple(
            Mount(
                self._directory / each.name,
                each.mount_path,
                each.read_only or self._volumes[each.name].empty_dir is None,
            )
            for each in container.volume_mounts
        )

    async def refresh(self, facts: PodFacts, cluster: Cluster) -> tuple[str, ...]:
        """Bring everything up to date; what is missing, for people. Raises KubeError."""
        missing: list[str] = []
        for name, volume in self._volumes.items():
            if volume.empty_dir is not None:
                continue
            files = await self._content(volume, facts, cluster, missing)
            if files is not None and files != self._written.get(name):
                project(self._directory / name, files)
                self._written[name] = files
        return tuple(missing)

    def due_s(self) -> float:
        """How long until a token has to be renewed."""
        now = time.monotonic()
        return min((at - now for _, at in self._tokens.values()), default=float("inf"))

    async def _content(
        self, volume: Volume, facts: PodFacts, cluster: Cluster, missing: list[str]
    ) -> dict[str, File] | None:
        """The files of a volume; None if something of it is missing."""
        if volume.config_map is not None:
            return _of_config_map(volume.config_map, facts, cluster, missing)
        if volume.downward_api is not None:
            return _of_pod(volume.downward_api, facts)
        files: dict[str, File] = {}
        projected = volume.projected
        for source in projected.sources if projected is not None else ():
            if source.config_map is not None:
                found = _of_config_map(source.config_map, facts, cluster, missing)
                if found is None:
                    return None
                files |= found
            if source.downward_api is not None:
                files |= _of_pod(source.downward_api, facts)
            if source.service_account_token is not None:
                files |= await self._of_token(
                    volume.name, source.service_account_token, facts, cluster
                )
        return files

    async def _of_token(
        self, volume: str, source: TokenSource, facts: PodFacts, cluster: Cluster
    ) -> dict[str, File]:
        key = (volume, source.path)
        text, renew_at = self._tokens.get(key, ("", 0.0))
        if time.monotonic() >= renew_at:
            token = await cluster.token(facts, source)
            text = token.text
            self._tokens[key] = (text, time.monotonic() + _RENEW_AT * token.lasts_s)
        return {source.path: File(text, 0o644)}


def keys(
    spec: PodSpec, facts: PodFacts, cluster: Cluster
) -> tuple[dict[tuple[str, str], str], tuple[str, ...]]:
    """The keys of ConfigMaps that variables are made of, by name and key; what is missing."""
    found, missing = {}, []
    containers = (*spec.init_containers, *spec.containers)
    sources = (each.value_from for container in containers for each in container.env)
    for source in sources:
        reference = source.config_map_key_ref if source is not None else None
        if reference is None:
            continue
        data = cluster.config_map(facts.namespace, reference.name) or {}
        if reference.key in data:
            found[reference.name, reference.key] = data[reference.key]
        elif not reference.optional:
            missing.append(f"ConfigMap {reference.name} has no key {reference.key}")
    return found, tuple(missing)


def _of_config_map(
    source: ConfigMapSource, facts: PodFacts, cluster: Cluster, missing: list[str]
) -> dict[str, File] | None:
    data = cluster.config_map(facts.namespace, source.name)
    if data is None:
        if source.optional:
            return {}
        missing.append(f"ConfigMap {source.name} is not there")
        return None
    if not source.items:
        return {key: File(text, source.default_mode) for key, text in data.items()}
    files = {}
    for item in source.items:
        if item.key in data:
            files[item.path] = File(data[item.key], item.mode or source.default_mode)
        elif not source.optional:
            missing.append(f"ConfigMap {source.name} has no key {item.key}")
            return None
    return files


def _of_pod(source: DownwardSource, facts: PodFacts) -> dict[str, File]:
    mode = source.default_mode
    return {each.path: File(facts.value(each.field_ref.field_path), mode) for each in source.items}


def project(place: Path, files: Mapping[str, File]) -> None:
    """Files that change together: each is a link into ``..data``, which is a link that moves."""
    version = place / f"..{time.time_ns()}.{next(_numbers)}"
    version.mkdir(mode=0o755)
    for name, file in files.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(file.mode)
    before = (place / "..data").resolve() if (place / "..data").is_symlink() else None
    fresh = place / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(place / "..data")
    tops = {Path(name).parts[0] for name in files}
    for name in tops:
        if not (place / name).is_symlink():
            (place / name).symlink_to(Path("..data", name))
    if before is not None:
        _forget(place, before, tops)


def _forget(place: Path, before: Path, tops: Iterable[str]) -> None:
    """Remove the version before, and the links of what is no longer there."""
    for each in list(_links(place)):
        if each.name not in tops:
            each.unlink()
    for each in sorted(before.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    before.rmdir()


def _links(place: Path) -> Iterator[Path]:
    return (each for each in place.iterdir() if each.is_symlink() and each.name != "..data")
