"""The agent on a site, with the policies of ten gateways."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.dataplane.site import CLIENT, Site, site
from bench.support.processes import end

_GATEWAYS, _POLICIES, _PREFIXES = 10, 4, 8


@contextlib.contextmanager
def agent() -> "Iterator[tuple[Site, subprocess.Popen[str], Path]]":
    """A gateway that forwards, its agent, and the directory of its sockets."""
    # The namespaces end first, and the engine with them: it may still write into the directory.
    with tempfile.TemporaryDirectory(prefix="vegd-bench-") as name, site() as made:
        directory = Path(name)
        config = directory / "gateway.yaml"
        config.write_text(configuration())
        command = [sys.executable, "-m", "vegd", "run", "--config", str(config)]
        variables = {**os.environ, "VEGD_RUNTIME_DIR": str(directory / "run")}
        with (directory / "log").open("w+") as log:
            process = made.gateway.popen(command, env=variables, stdout=log, stderr=log)
            try:
                _wait_until_forwarding(made, process, directory / "log")
                yield made, process, directory / "run"
            finally:
                end(process)


def configuration() -> str:
    """A gateway file with the policies of ten gateways."""
    lines = [
        "internal: {interface: eth0, addresses: [192.168.0.2/24], gateways: [192.168.0.1]}",
        "external: {interface: ext0, addresses: [172.17.0.11/16], gateways: [172.17.0.1]}",
        "metrics: {listen: 127.0.0.1:10669}",
        "conntrack: {udp: 600}",
        "policies:",
        f"  - {{name: client, snat: true, ipBlocks: [{CLIENT}/32]}}",
    ]
    for number in range(_GATEWAYS * _POLICIES):
        blocks = ", ".join(f"10.{number}.{block}.0/24" for block in range(_PREFIXES))
        snat = "false" if number % _POLICIES == 0 else "true"
        lines.append(f"  - {{name: policy{number}, snat: {snat}, ipBlocks: [{blocks}]}}")
    return "\n".join(lines) + "\n"


def _wait_until_forwarding(made: Site, process: "subprocess.Popen[str]", log: Path) -> None:
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    deadline = time.monotonic() + 20
    while made.gateway.call(forwarding.read_text).strip() != "1":
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the agent does not forward: {log.read_text()[-500:]}")
        time.sleep(0.05)
