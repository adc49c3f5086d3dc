"""The real daemon: what it does when all is well, when something is missing, and when it leaves."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import PYTHON, Site, alive, build, eventually, get
from tests.support.netns import inside, ip, run, veth

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PEERS = {"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"}
PATIENT = 30
"""Both ends wait 1.5 s for each other: a session that goes down is not one of a busy machine."""


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    built.write(bfd=built.spec["bfd"] | {"multiplier": PATIENT})
    yield built
    built.close()


def _all_up(site: Site) -> bool:
    sessions = site.sessions()
    return len(sessions) == 2 and all(each["state"] == 3 for each in sessions)


def _fails_with(site: Site, status: int, *texts: str) -> None:
    """The daemon ends with a status and one line with these texts, the kernel as it was found."""
    before = site.footprint()
    arguments = ("--config", str(site.config), "--runtime-dir", str(site.runtime_dir))
    done = site.vegd("run", *arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("vegd:")]
    assert done.returncode == status, done.stderr
    assert len(lines) == 1, done.stderr
    for text in texts:
        assert text in lines[0] or text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert site.footprint() == before


def test_a_gateway_comes_up_and_says_so_everywhere(site: Site) -> None:
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        status = daemon.wait_for("ready")
        assert (status["dataplane"], status["gate"], status["reasons"]) == ("converged", "open", [])
        eventually(lambda: _all_up(site), "both sessions Up")
        shown = site.vegd("sessions", "--runtime-dir", str(site.runtime_dir))
        assert shown.returncode == 0
        assert "10.255.255.255" in shown.stdout
        detail = site.vegd("sessions", "--runtime-dir", str(site.runtime_dir), "show", "fdff::1")
        assert "transmit 50 ms, detection 1500 ms" in detail.stdout
        plan = site.vegd("plan", "--config", str(site.config))
        assert (plan.returncode, plan.stdout) == (0, "nothing to change\n")
        assert get(site.gateway, "/livez") == (200, "ok\n")
        assert get(site.gateway, "/readyz") == (200, "ok\n")


def test_nothing_heavy_gets_into_the_daemons_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """35 MB at rest are the aim. OpenSSL, which an HTTPS probe would need, is 5 of them; typer,
    with pydantic and rich, 10; importlib.metadata 2."""
    heavy = {"pydantic", "pydantic_core", "typer", "click", "rich"}
    heavy |= {"aiohttp", "pyroute2", "prometheus_client", "email", "http.client", "http.server"}
    heavy |= {"importlib.metadata", "sqlite3", "multiprocessing", "unittest", "matplotlib", "scapy"}
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        for path in ("/metrics", "/readyz", "/pathz"):
            assert get(site.gateway, path)[0] == 200
        targets = [{"kind": "http", "address": "172.17.0.1"}]
        site.write(probes={"interval": 200, "targets": targets})
        eventually(lambda: site.metric("vegd_probe_failures_total") > 1, "probes by HTTP")
        eventually(lambda: site.metric("vegd_probe_answers_total") > 1, "probes of neighbours")
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "libnftables" in maps
    assert "libssl" not in maps
    assert "libcrypto" not in maps
    lines = daemon.log.read_text().splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert {"vegd.agent", "dataplane.netlink", "nftables", "vegd.probing"} <= loaded
    assert loaded & heavy == set()


def test_the_metrics_please_promtool_and_are_complete(site: Site) -> None:
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: _all_up(site), "both sessions Up")
        code, text = get(site.gateway, "/metrics")
    assert code == 200
    judged = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")
    session = 'interface="",kind="single-hop",local="fd00::2",peer="fdff::1"'
    assert f"vegd_bfd_session_state{{{session}}} 3.0" in text
    assert "vegd_ready 1.0" in text
    assert 'vegd_policy_packets_total{direction="out",family="ipv6",policy="vpc"}' in text
    assert 'vegd_bfd_transmit_lateness_seconds_bucket{le="+Inf"}' in text
    assert "vegd_conntrack_insert_failures_total 0.0" in text
    assert "vegd_snat_census_seconds " in text
    assert 'vegd_interface_bytes_total{direction="transmit",interface="net1"}' in text


def test_a_missing_interface_is_waited_for(site: Site) -> None:
    ip("link", "del", "ext0", ns=site.gateway)
    before = site.footprint()
    with site.daemon() as daemon:
        daemon.wait_for("waiting")
        reason = "the macvlan parent ext0 of net1 does not exist yet"
        # Until the engine has been told that no session is wanted, that is a reason, too.
        eventually(lambda: (site.status() or {}).get("reasons") == [reason], "that one reason")
        assert site.footprint() == before
        assert get(site.gateway, "/readyz") == (503, f"{reason}\n")
        assert get(site.gateway, "/livez") == (200, "ok\n")
        human = site.vegd("status", "--runtime-dir", str(site.runtime_dir))
        assert human.returncode == 1
        assert reason in human.stdout
        veth(site.gateway, "ext0", site.outside, "gw2")
        daemon.wait_for("ready")


def test_E6_a_gateway_that_cannot_forward_has_no_session(site: Site) -> None:
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: _all_up(site), "both sessions Up")
        ip("link", "del", "ext0", ns=site.gateway)
        status = daemon.wait_for("waiting")
        assert status["gate"] == "cannot forward"
        # AdminDown (0) with diagnostic 5, Path Down.
        eventually(
            lambda: {(s["state"], s["local_diag"]) for s in site.sessions()} == {(0, 5)},
            "AdminDown with Path Down",
        )


def test_what_is_removed_by_hand_comes_back(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        whole = site.footprint()
        run(site.gateway, "nft", "flush", "ruleset")
        run(site.gateway, "ip", "rule", "del", "priority", "1001")
        run(site.gateway, "ip", "route", "flush", "table", "1001")
        run(site.gateway, "ip", "address", "del", "172.17.0.11/16", "dev", "net1")
        run(site.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        # All may be back before anybody can look, but then it was counted.
        eventually(lambda: _essence(site.footprint()) == _essence(whole), "everything is back")
        eventually(lambda: site.metric("vegd_dataplane_drift_repairs_total") >= 5, "five kinds")


def _essence(footprint: str) -> list[str]:
    """The objects alone: no order, no counts, nothing that the kernel makes by itself and late."""
    passing = ("packets", "proto kernel")
    return sorted(
        line for line in footprint.splitlines() if not any(word in line for word in passing)
    )


def test_a_changed_file_is_taken_up_without_touching_the_sessions(site: Site) -> None:
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: _all_up(site), "both sessions Up")
        transitions = [each["transitions"] for each in site.sessions()]
        policies = [*site.spec["policies"], {"name": "more", "ipBlocks": ["192.168.9.0/24"]}]
        site.write(policies=policies)
        eventually(lambda: (site.status() or {}).get("generation") == 2, "the new generation")
        eventually(
            lambda: "out4-more" in run(site.gateway, "nft", "list", "ruleset").stdout, "the policy"
        )
        assert [each["transitions"] for each in site.sessions()] == transitions
        assert _all_up(site)


def test_a_bad_new_file_is_refused_and_the_old_one_stays_in_force(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        before = site.footprint()
        site.write(polices=[])
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: bool((site.status() or {}).get("configFaults")), "the fault is shown")
        status = site.status()
        assert status is not None
        assert "polices" in status["configFaults"][0]
        assert status["generation"] == 1
        assert status["state"] == "ready"
        assert _essence(site.footprint()) == _essence(before)


def test_sigterm_drains_and_with_keep_addresses_leaves_the_kernel_forwarding(site: Site) -> None:
    site.write(drain={"forwardFor": 1, "quietFor": 0, "keepAddresses": True})
    router = site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: _all_up(site), "both sessions Up")
        whole = site.footprint()
        engine = (site.status() or {})["engine"]["pid"]
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ends() == 0
        assert not alive(engine)
        assert _essence(site.footprint()) == _essence(whole)
    done = site.vegd("sessions", "--json", "--runtime-dir", str(router))
    for each in json.loads(done.stdout):
        # Our AdminDown (0) with diagnostic 7 was heard; that is diagnostic 3 on the other side.
        assert (each["state"], each["remote_diag"], each["local_diag"]) == (1, 7, 3)


def test_admin_down_waits_for_announce_after_and_a_second_sigterm_hurries(site: Site) -> None:
    site.write(drain={"announceAfter": 3600, "forwardFor": 1, "quietFor": 0})
    router = site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: _all_up(site), "both sessions Up")
        transitions = [each["transitions"] for each in site.sessions()]
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert [each["transitions"] for each in site.sessions()] == transitions
        assert (site.status() or {})["drain"] is None
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ends() == 0
    done = site.vegd("sessions", "--json", "--runtime-dir", str(router))
    assert [each["remote_diag"] for each in json.loads(done.stdout)] == [7, 7]


def test_a_killed_agent_leaves_the_sessions_up_for_its_successor(site: Site) -> None:
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as first:
        engine = first.wait_for("ready")["engine"]["pid"]
        eventually(lambda: _all_up(site), "both sessions Up")
        transitions = [each["transitions"] for each in site.sessions()]
        first.kill()
        with site.daemon() as second:
            assert second.wait_for("ready")["engine"]["pid"] == engine
            assert _all_up(site)
            assert [each["transitions"] for each in site.sessions()] == transitions
            second.process.send_signal(signal.SIGTERM)
            assert second.ends() == 0
    eventually(lambda: not alive(engine), "the engine has drained, too")


def test_a_killed_engine_is_started_again(site: Site) -> None:
    site.router_engine(PEERS, multiplier=PATIENT)
    with site.daemon() as daemon:
        engine = daemon.wait_for("ready")["engine"]["pid"]
        eventually(lambda: _all_up(site), "both sessions Up")
        run(site.gateway, "kill", "-KILL", str(engine))
        eventually(
            lambda: ((site.status() or {}).get("engine") or {}).get("pid", engine) != engine,
            "another engine",
        )
        eventually(lambda: _all_up(site), "both sessions Up again")
        assert "vegd_bfd_engine_restarts_total 1.0" in get(site.gateway, "/metrics")[1]


def test_a_second_daemon_in_the_namespace_is_refused(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        other = site.directory / "other"
        done = site.vegd("run", "--config", str(site.config), "--runtime-dir", str(other))
        assert done.returncode == 1
        assert "already runs in this network namespace" in done.stderr
        assert not other.exists()
        assert site.status() is not None


def test_a_bfd_port_in_use_is_told_and_nothing_is_changed(site: Site) -> None:
    code = (
        "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('', 3784)); print('bound', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        inside(site.gateway, sys.executable, "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"bound\n"
        _fails_with(site, 1, "3784")


def test_a_metrics_port_in_use_is_told_and_nothing_is_changed(site: Site) -> None:
    code = (
        "import socket, sys\ns = socket.create_server(('127.0.0.1', 10669))\n"
        "print('bound', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        inside(site.gateway, sys.executable, "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"bound\n"
        _fails_with(site, 1, "metrics.listen", "10669")


def test_without_net_admin_it_says_what_is_missing(site: Site) -> None:
    run_it = (*PYTHON, "run", "--config", str(site.config), "--runtime-dir", str(site.runtime_dir))
    drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    before = site.footprint()
    done = run(site.gateway, *drop, *run_it, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("vegd: CAP_NET_ADMIN is missing")
    assert site.footprint() == before


def test_without_the_nftables_binding_it_names_the_package(site: Site) -> None:
    code = "import sys; sys.modules['nftables'] = None\nfrom vegd.cli import main; main()"
    arguments = ("run", "--config", str(site.config), "--runtime-dir", str(site.runtime_dir))
    before = site.footprint()
    done = run(site.gateway, sys.executable, "-c", code, *arguments, check=False)
    assert done.returncode == 1
    assert "python3-nftables" in done.stderr
    assert site.footprint() == before


def test_a_bad_configuration_names_every_fault_and_nothing_is_changed(site: Site) -> None:
    site.write(internal={"interface": "eth0", "gateways": ["192.168.0.300"]}, colour="red")
    before = site.footprint()
    arguments = ("run", "--config", str(site.config), "--runtime-dir", str(site.runtime_dir))
    done = site.vegd(*arguments)
    assert done.returncode == 2
    assert "internal.gateways[0]: '192.168.0.300'" in done.stderr
    assert "colour" in done.stderr
    assert site.footprint() == before


@pytest.mark.parametrize("command", [["status"], ["sessions"], ["sessions", "show", "10.0.0.1"]])
def test_asking_where_no_daemon_runs_is_status_3(site: Site, command: list[str]) -> None:
    directory = ["--runtime-dir", str(site.runtime_dir)]
    done = site.vegd(command[0], *directory, *command[1:])
    assert done.returncode == 3
    assert "--runtime-dir" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_plan_shows_what_would_change_and_changes_nothing(site: Site) -> None:
    before = site.footprint()
    done = site.vegd("plan", "--config", str(site.config))
    assert done.returncode == 1
    assert "+ link net1 macvlan bridge on ext0 up" in done.stdout
    assert "+ rule 1001 iif eth0 (IPv4) lookup 1001" in done.stdout
    assert site.footprint() == before
    as_json = site.vegd("plan", "--config", str(site.config), "--json")
    operations = json.loads(as_json.stdout)["operations"]
    # The same in the same order, for programs.
    assert [line for each in operations for line in each["lines"]] == done.stdout.splitlines()
    assert operations[0]["action"] == "add"
    assert operations[0]["kind"] == "nft"
    assert "+ nft table inet vegd" in operations[0]["lines"]
