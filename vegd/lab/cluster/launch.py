"""How a container is started: the script that makes its view of the machine, and becomes it.

There are no images. A container sees the machine's own files below a layer of its own, to which it
writes and which goes with it; above them is a thin image with the commands of vegd's real one. It
has process numbers, host name, /run and /tmp of its own, the pod's network, and its volumes. It
does not touch, and does not see, what is not below /.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.security import become
from vegd.lab.cluster.template import Container
from vegd.lab.cluster.volumes import Mount

SERVICE = ("10.96.0.1", 443)
"""The API server, as pods reach it."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][\w.-]*)\)")
_HIDDEN = (Path("/run"), Path("/tmp"))  # noqa: S108 - of the machine, hidden from pods
_SEARCHABLE = 0o001


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the node a container runs."""

    netns: str
    """Name of the pod's network namespace."""
    directory: Path
    """The container's own."""
    image: Path
    """Of `make_image`."""
    memory: Path
    """What all containers of the pod share as /dev/shm; it outlives them."""

    @property
    def pid_file(self) -> Path:
        """Holds the process id of the container's first process once it runs."""
        return self.directory / "pid"

    @property
    def script(self) -> Path:
        """What is run to start it."""
        return self.directory / "start.sh"


def make_image(place: Path) -> None:
    """What the machine does not have and an image of vegd has: its commands."""
    shutil.rmtree(place, ignore_errors=True)
    programs, kube_ovn = place / "usr/local/bin", place / "kube-ovn"
    programs.mkdir(parents=True)
    shutil.copytree(str(resources.files("kube").joinpath("image")), kube_ovn)
    python = shlex.quote(sys.executable)
    for name, words in (("vegd", f"{python} -I -m vegd"), ("python3", python)):
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    for path in kube_ovn.iterdir():
        path.chmod(0o755)
    for name in ("bfdd-beacon", "bfdd-control"):
        (programs / name).symlink_to(f"/kube-ovn/{name}")


def environment(
    container: Container, facts: PodFacts, keys: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """The variables of a container; `keys` are those of ConfigMaps, by name and key."""
    host, port = SERVICE
    found = {
        "PATH": _PATH,
        "HOSTNAME": facts.name,
        "HOME": "/root",
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
    }
    for variable in container.env:
        source = variable.value_from
        if source is None:
            found[variable.name] = expand(variable.value, found)
        elif source.field_ref is not None:
            found[variable.name] = facts.value(source.field_ref.field_path)
        elif source.config_map_key_ref is not None:
            reference = source.config_map_key_ref
            if (reference.name, reference.key) in keys:
                found[variable.name] = keys[reference.name, reference.key]
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` by its value, ``$$`` by ``$``; a name that is unknown stays as it is."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return _VARIABLE.sub(value, text)


def arguments(container: Container, variables: Mapping[str, str]) -> list[str]:
    """What a container runs. Without a command it sleeps until it is told to end."""
    words = [*container.command, *container.args]
    if not words:
        return ["sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait; done"]
    return [expand(each, variables) for each in words]


def command(place: Place) -> list[str]:
    """Runs the script; ends as the container does, and takes it along."""
    return [
        *("setpriv", "--pdeathsig=KILL", "nsenter", f"--net=/run/netns/{place.netns}"),
        *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL"),
        *("--propagation=private", "sh", "-e", str(place.script)),
    ]


def enter(container: Container, pid: int) -> list[str]:
    """Runs a further command in a container whose first process is `pid`, as its user."""
    words = ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--pid", "--"]
    if container.working_dir:
        words += ["env", f"--chdir={container.working_dir}"]
    return [*words, *become(container)]


def script(
    container: Container,
    facts: PodFacts,
    mounts: Sequence[Mount],
    place: Place,
    variables: Mapping[str, str],
) -> str:
    """Makes the container's view, says its process id, and becomes its command."""
    read_only = container.security_context.read_only_root_filesystem
    lines = [
        "umask 022",
        "read -r pid rest </proc/self/stat",
        f"exec 3>{_word(place.pid_file)}",
        *_root(place),
        *_system(place, privileged=container.security_context.privileged),
        *_names(facts),
        *_own_files(),
        "mkdir -p .old",
        "pivot_root . .old",
        "cd /",
        *(line for each in mounts for line in _mount(each)),
        "umount -l /.old",
        "rmdir /.old",
        *(f"mount -o remount,bind,ro {each}" for each in (*_HIDDEN, "/") if read_only),
        "echo $pid >&3",
        "exec 3>&-",
        f"cd {_word(container.working_dir or '/')}",
        f"exec {shlex.join([*become(container), *arguments(container, variables)])}",
    ]
    return "\n".join(lines) + "\n"


def _root(place: Place) -> list[str]:
    layer, root = place.directory / "layer", place.directory / "root"
    upper, work = layer / "upper", layer / "work"
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    return [
        f"mkdir -p {_word(layer)} {_word(root)}",
        f"mount -t tmpfs -o mode=0755 tmpfs {_word(layer)}",
        f"mkdir {_word(work)}",
        f"cp -a {_word(place.image)} {_word(upper)}",
        f"mount -t overlay -o {_word(options)} overlay {_word(root)}",
        f"cd {_word(root)}",
    ]


def _system(place: Place, *, privileged: bool) -> list[str]:
    memory = _word(place.memory)
    lines = [
        "mount -t proc proc proc",
        "mount --rbind /dev dev",
        f"mkdir -p {memory}",
        f"chmod 1777 {memory}",
        f"mount --bind {memory} dev/shm",
        f"mount -t sysfs -o {'rw' if privileged else 'ro'} sysfs sys",
        "mount -t tmpfs -o mode=0755 tmpfs run",
        "mount -t tmpfs -o mode=1777 tmpfs tmp",
    ]
    if not privileged:
        lines += ["mount --bind proc/sys proc/sys", "mount -o remount,bind,ro proc/sys"]
    return lines


def _names(facts: PodFacts) -> list[str]:
    hosts = ["127.0.0.1 localhost", "::1 localhost", *(f"{ip} {facts.name}" for ip in facts.ips)]
    texts = {"etc/hosts": "\n".join(hosts), "etc/hostname": facts.name, "etc/resolv.conf": ""}
    # What is a link on the machine would lead out of here.
    lines = [f"rm -f {' '.join(texts)}"]
    lines += [f"echo {_word(text)} >{path}" for path, text in texts.items()]
    return [*lines, "hostname -F etc/hostname"]


def _own_files() -> list[str]:
    """This program and its interpreter, wherever they are, for every user."""
    package = Path(__file__).parents[3]
    lines = []
    for place in dict.fromkeys((Path(sys.prefix), Path(sys.base_prefix), package)):
        inside = _word(f".{place}")
        if _is_elsewhere(place):
            lines += [f"mkdir -p {inside}", f"mount --bind {_word(place)} {inside}"]
        lines += [f"chmod o+x {_word(f'.{each}')}" for each in _closed(place.parents)]
    return lines


def _is_elsewhere(place: Path) -> bool:
    """Whether it is in another filesystem, or below what is hidden."""
    is_hidden = any(place.is_relative_to(each) for each in _HIDDEN)
    return is_hidden or place.stat().st_dev != Path("/").stat().st_dev


def _closed(directories: Iterable[Path]) -> list[Path]:
    """Those that not everybody may go through."""
    return [each for each in directories if not each.stat().st_mode & _SEARCHABLE]


def _mount(mount: Mount) -> list[str]:
    source, target = _word(f"/.old{mount.source}"), _word(mount.target)
    kind = "mkdir -p" if mount.source.is_dir() else "touch"
    lines = [f"{kind} {target}", f"mount --bind {source} {target}"]
    if mount.read_only:
        lines.append(f"mount -o remount,bind,ro {target}")
    return lines


def _word(text: object) -> str:
    return shlex.quote(str(text))
