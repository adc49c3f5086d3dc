"""A real ovsdb-server with a northbound database, for one test; no northd, no packets."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

SCHEMA = Path("/usr/share/ovn/ovn-nb.ovsschema")
_START_S = 30.0


def schema(*, policies_name_bfd: bool = True) -> dict[str, Any]:
    """The schema of the installed OVN, with or without what OVN 24.03 has added to policies."""
    document: dict[str, Any] = json.loads(SCHEMA.read_text())
    columns = document["tables"]["Logical_Router_Policy"]["columns"]
    columns.pop("bfd_sessions", None)
    if policies_name_bfd:
        key = {"type": "uuid", "refTable": "BFD", "refType": "weak"}
        columns["bfd_sessions"] = {"type": {"key": key, "min": 0, "max": "unlimited"}}
    return document


class OvsdbServer:
    """The server: started, stopped and started again on the same database and socket."""

    def __init__(self, directory: Path, *, policies_name_bfd: bool = True) -> None:
        self.directory = directory
        self.remote = f"unix:{directory}/nb.sock"
        self.control = directory / "nb.ctl"
        self._database = directory / "nb.db"
        self._process: subprocess.Popen[bytes] | None = None
        text = json.dumps(schema(policies_name_bfd=policies_name_bfd))
        (directory / "nb.ovsschema").write_text(text)
        run("ovsdb-tool", "create", str(self._database), str(directory / "nb.ovsschema"))
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = ["ovsdb-server", str(self._database), f"--remote=p{self.remote}"]
        options = [f"--unixctl={self.control}", "--no-chdir", f"--log-file={self.directory}/nb.log"]
        self._process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
        until_answers(self.remote)

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it; its database stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ctl(self, *arguments: str) -> str:
        """What ovs-appctl says."""
        return run("ovs-appctl", "-t", str(self.control), *arguments)

    def nbctl(self, *arguments: str) -> str:
        """What ovn-nbctl says; it changes the database behind our back."""
        return run(
            "ovn-nbctl", "--timeout=30", f"--db={self.remote}", "--no-leader-only", *arguments
        )

    def transact(self, *operations: dict[str, Any]) -> list[Any]:
        """Operations of RFC 7047, all or nothing."""
        text = json.dumps(["OVN_Northbound", *operations])
        done: list[Any] = json.loads(run("ovsdb-client", "transact", self.remote, text))
        failed = [each for each in done if each and "error" in each]
        assert not failed, failed
        return done

    def commits(self) -> int:
        """How many transactions the database's log holds: the schema is the first."""
        listed = run("ovsdb-tool", "show-log", str(self._database))
        return sum(line.startswith("record") for line in listed.splitlines())


def until_answers(remote: str) -> None:
    """Wait until a server has its database."""
    deadline = time.monotonic() + _START_S
    while True:
        command = ["ovsdb-client", "--timeout=5", "list-dbs", remote]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "OVN_Northbound" in done.stdout:
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)


def run(*command: str) -> str:
    """A program's output; an AssertionError with its complaint."""
    environment = {**os.environ, "OVN_RUNDIR": "/nonexistent"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


class OvsdbCluster:
    """Three servers that hold one database together."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        schema_file = directory / "nb.ovsschema"
        schema_file.write_text(json.dumps(schema()))
        first, *others = range(3)
        database = str(directory / f"{first}.db")
        run("ovsdb-tool", "create-cluster", database, str(schema_file), self._raft(first))
        self._start(first)
        for number in others:
            where = [str(directory / f"{number}.db"), "OVN_Northbound", self._raft(number)]
            run("ovsdb-tool", "join-cluster", *where, self._raft(first))
            self._start(number)

    def _raft(self, number: int) -> str:
        return f"unix:{self.directory}/{number}.raft"

    def _socket(self, number: int) -> str:
        return f"unix:{self.directory}/{number}.sock"

    @property
    def remote(self) -> str:
        """All servers, as clients want them named."""
        return ",".join(map(self._socket, range(3)))

    def _start(self, number: int) -> None:
        command = [
            "ovsdb-server",
            f"{self.directory}/{number}.db",
            f"--remote=p{self._socket(number)}",
        ]
        options = [
            f"--unixctl={self.directory}/{number}.ctl",
            f"--log-file={self.directory}/{number}.log",
        ]
        self._processes[number] = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
        until_answers(self._socket(number))

    def leader(self) -> int:
        """The number of the server that leads; waits until there is one."""
        deadline = time.monotonic() + _START_S
        while True:
            for number in self._processes:
                control = f"{self.directory}/{number}.ctl"
                status = run("ovs-appctl", "-t", control, "cluster/status", "OVN_Northbound")
                if "Role: leader" in status:
                    return number
            assert time.monotonic() < deadline, "no leader"
            time.sleep(0.1)

    def kill(self, number: int) -> None:
        """Kill one of the servers."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill all of them."""
        for number in list(self._processes):
            self.kill(number)
