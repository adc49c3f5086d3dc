"""The OCI configuration of a container, as a kubelet and containerd make it from a pod template.

Left out: devices of the host for a privileged container, the namespaces that containers of a pod
share besides the network (IPC, UTS), OOM scores, service environment variables, AppArmor, SELinux.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support.image import Image
from tests.support.pods.seccomp import default_profile
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.security import capabilities
from vegd.lab.cluster.template import Container, PodSpec, Resources

Json = dict[str, Any]

_SUFFIXES = {
    **{name: Decimal(1024) ** n for n, name in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
    **{name: Decimal(1000) ** n for n, name in enumerate(("k", "M", "G", "T"), 1)},
    "m": Decimal("0.001"),
}
_CPU_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000

_MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/sys/firmware", "/sys/devices/virtual/powercap"),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


class Refused(Exception):
    """A kubelet would not start this container."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the node in the container."""

    source: Path
    target: str
    read_only: bool = False
    propagation: str = "None"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where on the node a container runs."""

    rootfs: Path
    netns: Path
    cgroup: str
    binds: tuple[Bind, ...]
    own_cgroup_namespace: bool
    """As containerd does with cgroup v2 only."""


def configuration(
    container: Container, spec: PodSpec, facts: PodFacts, image: Image, place: Placement
) -> Json:
    """The content of the bundle's config.json. Raises Refused."""
    security = container.security_context
    kinds = ["pid", "ipc", "uts", "mount", *(["cgroup"] if place.own_cgroup_namespace else [])]
    namespaces: list[Json] = [{"type": kind} for kind in kinds]
    namespaces.append({"type": "network", "path": str(place.netns)})
    linux: Json = {
        "namespaces": namespaces,
        "cgroupsPath": place.cgroup,
        "resources": _resources(container.resources, privileged=security.privileged),
        "rootfsPropagation": "rslave",
    }
    if not security.privileged:
        linux |= {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READ_ONLY)}
        profile = spec.security_context.seccomp_profile
        if profile is not None and profile.type == "RuntimeDefault":
            linux["seccomp"] = default_profile(capabilities(container))
    return {
        "ociVersion": "1.0.2",
        "hostname": facts.name,
        "process": process(container, facts, image),
        "root": {"path": str(place.rootfs), "readonly": security.read_only_root_filesystem},
        "mounts": [*_system_mounts(privileged=security.privileged), *_binds(place.binds)],
        "linux": linux,
    }


def process(
    container: Container, facts: PodFacts, image: Image, command: Iterable[str] = ()
) -> Json:
    """What is executed: the container's own command, or another one beside it. Raises Refused."""
    security = container.security_context
    user, group = _user(container, image)
    if security.run_as_non_root and user == 0:
        raise Refused(f"{container.name}: runAsNonRoot, and its user is root")
    entrypoint = container.command or image.entrypoint
    arguments = container.args or (() if container.command else image.command)
    held = [f"CAP_{name}" for name in capabilities(container)]
    return {
        "terminal": False,
        "user": {"uid": user, "gid": group, "additionalGids": [group]},
        "args": list(command) or [*entrypoint, *arguments],
        "env": [f"{name}={value}" for name, value in _environment(container, facts, image)],
        "cwd": container.working_dir or "/",
        # For a user that is not root, execve(2) empties what is effective and permitted.
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
        "noNewPrivileges": not (security.allow_privilege_escalation or security.privileged),
    }


def _user(container: Container, image: Image) -> tuple[int, int]:
    """User and group; the group is that of the image's passwd(5) if the template names none."""
    security = container.security_context
    user = int(image.user or 0) if security.run_as_user is None else security.run_as_user
    lines = (image.root / "etc/passwd").read_text().splitlines()
    groups = {int(fields[2]): int(fields[3]) for fields in (line.split(":") for line in lines)}
    group = groups.get(user, 0) if security.run_as_group is None else security.run_as_group
    return user, group


def quantity(text: str) -> Decimal:
    """A quantity of Kubernetes as a number. decimal.InvalidOperation on anything else."""
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            return Decimal(text.removesuffix(suffix)) * factor
    return Decimal(text)


def _environment(container: Container, facts: PodFacts, image: Image) -> Iterable[tuple[str, str]]:
    yield "HOSTNAME", facts.name
    yield from image.environment.items()
    for variable in container.env:
        source = variable.value_from
        value = facts.value(source.field_ref.field_path) if source else variable.value
        yield variable.name, value


def _resources(resources: Resources, *, privileged: bool) -> Json:
    """As kubelet: shares from the request, or from the limit where there is no request."""
    cpu: Json = {}
    request = resources.requests.get("cpu") or resources.limits.get("cpu")
    cpu["shares"] = max(2, int(quantity(request or "0") * 1024))
    if "cpu" in resources.limits:
        quota_us = int(quantity(resources.limits["cpu"]) * _CPU_PERIOD_US)
        cpu |= {"quota": max(_LEAST_QUOTA_US, quota_us), "period": _CPU_PERIOD_US}
    memory = resources.limits.get("memory")
    return {
        "cpu": cpu,
        "memory": {"limit": int(quantity(memory))} if memory else {},
        "devices": [{"allow": privileged, "access": "rwm"}],
    }


def _system_mounts(*, privileged: bool) -> list[Json]:
    closed = ["nosuid", "noexec", "nodev"]
    mode = "rw" if privileged else "ro"
    rows: Mapping[str, tuple[str, list[str]]] = {
        "/proc": ("proc", closed),
        "/dev": ("tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        "/dev/pts": (
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        "/dev/mqueue": ("mqueue", closed),
        "/dev/shm": ("tmpfs", [*closed, "mode=1777", "size=65536k"]),  # noqa: S108
        "/sys": ("sysfs", [*closed, mode]),
        "/sys/fs/cgroup": ("cgroup", [*closed, "relatime", mode]),
    }
    return [
        {"destination": place, "type": kind, "source": kind, "options": options}
        for place, (kind, options) in rows.items()
    ]


def _binds(binds: Iterable[Bind]) -> list[Json]:
    return [
        {
            "destination": each.target,
            "type": "bind",
            "source": str(each.source),
            "options": [
                "rbind",
                _PROPAGATION[each.propagation],
                "ro" if each.read_only else "rw",
            ],
        }
        for each in binds
    ]
