"""The volumes of a pod, as directories of the node."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.pods.oci import Bind
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.template import Container, PodSpec
from vegd.lab.cluster.volumes import File, project


class Volumes:
    """Made once per pod; they outlive its containers."""

    def __init__(self, spec: PodSpec, facts: PodFacts, directory: Path) -> None:
        self._facts = facts
        self._directory = directory
        self._specs = {volume.name: volume for volume in spec.volumes}
        for volume in spec.volumes:
            place = directory / volume.name
            place.mkdir(parents=True)
            place.chmod(0o777)
            if volume.downward_api is not None:
                items = volume.downward_api.items
                self.write(
                    volume.name, {i.path: facts.value(i.field_ref.field_path) for i in items}
                )

    def write(self, name: str, files: Mapping[str, str]) -> None:
        """The content of a ConfigMap's or downward volume, now or anew, in one step."""
        volume = self._specs[name]
        source = volume.config_map or volume.downward_api
        assert source is not None, f"{name} is not projected"
        mode = source.default_mode
        project(self._directory / name, {name: File(text, mode) for name, text in files.items()})

    def binds(self, container: Container, bundle: Path) -> tuple[Bind, ...]:
        """The mounts of a container, with the files that every container has."""
        return (*self._node_files(container, bundle), *self._mounts(container))

    def _mounts(self, container: Container) -> list[Bind]:
        return [
            Bind(
                self._directory / mount.name,
                mount.mount_path,
                mount.read_only,
                mount.mount_propagation,
            )
            for mount in container.volume_mounts
        ]

    def _node_files(self, container: Container, bundle: Path) -> list[Bind]:
        name, address = self._facts.name, self._facts.ips[0]
        texts = {
            "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{address} {name}\n",
            "/etc/hostname": f"{name}\n",
            "/etc/resolv.conf": "nameserver 10.96.0.10\n",
            container.termination_message_path: "",
        }
        files = []
        for target, text in texts.items():
            source = bundle / Path(target).name
            source.write_text(text)
            if not text:
                source.chmod(0o666)
            files.append(Bind(source, target))
        return files
