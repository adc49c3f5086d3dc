"""The part of a Kubernetes pod that can be carried out here, typed.

A field that is not listed is refused, so that no pod is run without what it says. What is typed
``Any`` has no meaning for a pod that has been bound to a node.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class _Object(
    msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """JSON object of the Kubernetes API."""


class Metadata(_Object, frozen=True):
    """Of the template; names are given by whoever makes the pod."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class FieldRef(_Object, frozen=True):
    """A field of the pod, such as ``status.podIPs``."""

    field_path: str
    api_version: str = "v1"


class KeyRef(_Object, frozen=True):
    """One key of a ConfigMap."""

    name: str
    key: str
    optional: bool = False


class EnvSource(_Object, frozen=True):
    """Where a variable comes from: one of both."""

    field_ref: FieldRef | None = None
    config_map_key_ref: KeyRef | None = None


class EnvVar(_Object, frozen=True):
    """A variable of the environment."""

    name: str
    value: str = ""
    value_from: EnvSource | None = None


class Exec(_Object, frozen=True):
    """A command in the container."""

    command: tuple[str, ...]


class HttpGet(_Object, frozen=True):
    """A page of the pod's address; a port may be named by `ContainerPort.name`."""

    port: int | str
    path: str = "/"
    scheme: str = "HTTP"
    host: str = ""


class TcpSocket(_Object, frozen=True):
    """A port of the pod's address that accepts connections."""

    port: int | str
    host: str = ""


class Probe(_Object, frozen=True):
    """One question of one kind. Times are seconds."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1


class Resources(_Object, frozen=True):
    """Quantities by name, such as ``cpu`` and ``memory``."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class Capabilities(_Object, frozen=True):
    """Names without ``CAP_``; ``ALL`` can be dropped."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompProfile(_Object, frozen=True):
    """``RuntimeDefault`` or ``Unconfined``."""

    type: str


class SecurityContext(_Object, frozen=True):
    """Of a container."""

    privileged: bool = False
    allow_privilege_escalation: bool = True
    read_only_root_filesystem: bool = False
    run_as_non_root: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    capabilities: Capabilities = Capabilities()


class PodSecurityContext(_Object, frozen=True):
    """Of all containers of a pod."""

    seccomp_profile: SeccompProfile | None = None


class ContainerPort(_Object, frozen=True):
    """A name for a port."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class VolumeMount(_Object, frozen=True):
    """A volume's place in a container."""

    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: Any = None
    mount_propagation: str = "None"


class Container(_Object, frozen=True):
    """One container; with `restart_policy` ``Always`` among the init containers it is a sidecar."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    security_context: SecurityContext = SecurityContext()
    volume_mounts: tuple[VolumeMount, ...] = ()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    restart_policy: str | None = None
    image_pull_policy: Any = None
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: Any = None

    @property
    def is_sidecar(self) -> bool:
        """Whether it goes on beside the main containers (of an init container)."""
        return self.restart_policy == "Always"


class KeyFile(_Object, frozen=True):
    """A key of a ConfigMap, and the name that its file gets."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapSource(_Object, frozen=True):
    """Every key of a ConfigMap is a file, or those of `items` are."""

    name: str
    default_mode: int = 0o644
    items: tuple[KeyFile, ...] = ()
    optional: bool = False


class DownwardFile(_Object, frozen=True):
    """A field of the pod in a file."""

    path: str
    field_ref: FieldRef


class DownwardSource(_Object, frozen=True):
    """Fields of the pod, each in a file."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int = 0o644


class TokenSource(_Object, frozen=True):
    """A token of the pod's ServiceAccount in a file."""

    path: str
    expiration_seconds: int = 3600
    audience: str = ""


class ProjectedSource(_Object, frozen=True):
    """One part of a projected volume."""

    config_map: ConfigMapSource | None = None
    downward_api: DownwardSource | None = msgspec.field(name="downwardAPI", default=None)
    service_account_token: TokenSource | None = None


class Projected(_Object, frozen=True):
    """Several sources in one directory."""

    sources: tuple[ProjectedSource, ...] = ()
    default_mode: int = 0o644


class Volume(_Object, frozen=True):
    """One volume, of exactly one kind."""

    name: str
    empty_dir: dict[str, Any] | None = None
    projected: Projected | None = None
    config_map: ConfigMapSource | None = None
    downward_api: DownwardSource | None = msgspec.field(name="downwardAPI", default=None)


class ReadinessGate(_Object, frozen=True):
    """A condition that somebody else sets, without which the pod is not Ready."""

    condition_type: str


class PodSpec(_Object, frozen=True):
    """What runs."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    security_context: PodSecurityContext = PodSecurityContext()
    termination_grace_period_seconds: int = 30
    restart_policy: str = "Always"
    readiness_gates: tuple[ReadinessGate, ...] = ()
    service_account_name: str = ""
    node_name: str = ""
    hostname: str = ""
    affinity: Any = None
    automount_service_account_token: Any = None
    dns_policy: Any = None
    enable_service_links: Any = None
    node_selector: Any = None
    preemption_policy: Any = None
    priority: Any = None
    priority_class_name: Any = None
    scheduler_name: Any = None
    service_account: Any = None
    tolerations: Any = None
    topology_spread_constraints: Any = None


class PodTemplate(_Object, frozen=True):
    """``spec.template`` of a Deployment."""

    spec: PodSpec
    metadata: Metadata = Metadata()

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> "PodTemplate":
        """From JSON or YAML as read. Raises msgspec.ValidationError naming the path."""
        return msgspec.convert(document, cls)
