"""The image's commands as a gateway pod runs them, by what the kernel lets them do.

uid 65534, a read-only root, and of capabilities only what Kube-OVN's controller names.
"""

import re
import subprocess
from collections.abc import Callable, Iterable

import pytest

from tests.support.image import Image
from tests.support.netns import inside, ip, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

MAIN = ("net_admin", "net_bind_service", "net_raw")
"""Capabilities of the main container."""
OBSERVER = ("net_admin",)
BITS = {"net_bind_service": 10, "net_admin": 12, "net_raw": 13}

Says = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gateway(netns: Callable[[str], str]) -> str:
    """A namespace that is a pod's."""
    name = netns("pod")
    ip("link", "set", "lo", "up", ns=name)
    return name


def _run(
    ns: str,
    image: Image,
    *command: str,
    capabilities: Iterable[str] = MAIN,
    no_new_privs: bool = False,
) -> subprocess.CompletedProcess[str]:
    container = image.container(*command, capabilities=capabilities, no_new_privs=no_new_privs)
    return subprocess.run(
        inside(ns, *container), capture_output=True, text=True, check=False, timeout=60
    )


def _says(ns: str, image: Image, *command: str, capabilities: Iterable[str] = MAIN) -> str:
    done = _run(ns, image, *command, capabilities=capabilities)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def _sets(status: str) -> dict[str, int]:
    return {name: int(bits, 16) for name, bits in re.findall(r"\nCap(\w+):\s+(\w+)", status)}


@pytest.mark.parametrize("capabilities", [MAIN, OBSERVER, ()], ids=["main", "observer", "none"])
def test_python_and_its_children_have_what_the_container_has(
    gateway: str, image: Image, capabilities: tuple[str, ...]
) -> None:
    child = "import subprocess; subprocess.run(['cat', '/proc/self/status'], check=True)"
    status = _says(gateway, image, "python3", "-Ic", child, capabilities=capabilities)
    wanted = sum(1 << BITS[each] for each in capabilities)
    assert _sets(status) == dict.fromkeys(("Inh", "Prm", "Eff", "Bnd", "Amb"), wanted)
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
    assert "\nNoNewPrivs:\t0\n" in status


def test_more_than_a_gateway_needs_is_never_taken(gateway: str, image: Image) -> None:
    read = "print(open('/proc/self/status').read())"
    status = _says(
        gateway, image, "python3", "-Ic", read, capabilities=(*MAIN, "sys_admin", "setuid")
    )
    assert _sets(status)["Eff"] == sum(1 << bit for bit in BITS.values())


_WRITES = """
import socket
from nftables import Nftables
with (
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as low,
):
    low.bind(("127.0.0.1", 53))
print(Nftables().cmd("add table inet probe"))
"""


def test_the_main_container_writes_by_netlink_and_opens_its_sockets(
    gateway: str, image: Image
) -> None:
    assert _says(gateway, image, "python3", "-Ic", _WRITES) == "(0, '', '')\n"
    assert "table inet probe" in run(gateway, "nft", "list", "tables").stdout
    through = "import subprocess; subprocess.run(['ip', 'rule', 'add', 'pref', '7', 'table', '7'])"
    _says(gateway, image, "python3", "-Ic", through)
    assert "7:\tfrom all lookup 7" in run(gateway, "ip", "rule").stdout


_PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-m", "bfd", "--runtime-dir", "/run/vegd"], check=True)
"""


def test_an_engine_that_is_a_child_opens_its_sockets(gateway: str, image: Image) -> None:
    container = inside(gateway, *image.container("python3", "-Ic", _PARENT, capabilities=MAIN))
    with subprocess.Popen(container, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "the BFD engine is ready" in line:
                    break
            sockets = run(gateway, "ss", "--udp", "--listening", "--numeric").stdout
        finally:
            process.kill()
    assert "is ready" in lines[-1], lines
    assert "0.0.0.0:3784" in sockets, sockets
    assert "[::]:3784" in sockets, sockets


def test_without_the_right_to_raw_sockets_the_observer_runs(gateway: str, image: Image) -> None:
    raw = _run(gateway, image, "python3", "-Ic", _WRITES, capabilities=OBSERVER)
    assert raw.stderr.endswith("PermissionError: [Errno 1] Operation not permitted\n")
    table = "from nftables import Nftables; print(Nftables().cmd('add table inet probe'))"
    assert _says(gateway, image, "python3", "-Ic", table, capabilities=OBSERVER) == "(0, '', '')\n"


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_what_is_missing_is_one_line(gateway: str, image: Image, no_new_privs: bool) -> None:
    capabilities = MAIN if no_new_privs else ()
    done = _run(
        gateway,
        image,
        *("env", "INTERNAL_GATEWAY_IPV4=192.168.0.1", "EXTERNAL_GATEWAY_IPV4=172.17.0.1"),
        *("vegd", "init"),
        capabilities=capabilities,
        no_new_privs=no_new_privs,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    text = done.stderr.rstrip("\n")
    assert "\n" not in text
    assert "CAP_NET_ADMIN is missing" in text
    assert ("allowPrivilegeEscalation" in text) == no_new_privs


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        (["vegd", "--help"], 0, "Usage: vegd"),
        (["bfdd-control", "status"], 1, "no daemon answers"),
        (["bfdd-beacon", "--help"], 0, "usage: bfdd-beacon"),
        (["/kube-ovn/kube-ovn-bfdd-supervisor", "live"], 1, "does not answer"),
        (["/kube-ovn/bfdd-prestart.sh"], 0, ""),
        (["bash", "-exc", "sleep 0"], 0, ""),
        (["ip", "-json", "address"], 0, '"lo"'),
        (["nft", "--version"], 0, "nftables v"),
        (["curl", "--version"], 0, "https"),
        (["traceroute", "--version"], 0, "traceroute"),
        (["ping", "-V"], 0, "ping"),
    ],
    ids=lambda value: value[0].rpartition("/")[2] if isinstance(value, list) else "",
)
def test_the_commands_are_there_and_answer_without_capabilities(
    gateway: str, image: Image, command: list[str], status: int, text: str
) -> None:
    done = _run(gateway, image, *command, capabilities=(), no_new_privs=True)
    assert done.returncode == status, done
    assert text in done.stdout + done.stderr


_ORPHAN = """
import os, time
reader, writer = os.pipe()
if not (child := os.fork()):
    if not (orphan := os.fork()):
        os.write(writer, f"{os.getpid()}\\n".encode())
        os._exit(0)
    os._exit(0)
os.waitpid(child, 0)
orphan = os.read(reader, 100).decode().strip()
while os.path.exists(f"/proc/{orphan}"):
    time.sleep(0.05)
print(open("/proc/1/comm").read().strip(), os.getppid())
"""


@pytest.mark.parametrize("entered", [True, False], ids=["entry point", "command"])
def test_the_first_process_waits_for_orphans(gateway: str, image: Image, entered: bool) -> None:
    first = image.entrypoint if entered else ()
    assert _says(gateway, image, *first, "python3", "-Ic", _ORPHAN) == "tini 1\n"
