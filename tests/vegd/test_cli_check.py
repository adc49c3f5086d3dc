"""``vegd check`` as the user meets it: lines, streams, exit status, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vegd.spec_documents import ABSENT, changed, good
from vegd.spec import parse_bytes


def _check(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vegd", "check", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def _file(directory: Path, name: str, document: object) -> Path:
    path = directory / name
    path.write_text(json.dumps(document))
    return path


def test_a_valid_file_is_one_line_and_status_0(tmp_path: Path) -> None:
    path = _file(tmp_path, "gateway.yaml", good())
    done = _check(path)
    summary = "gw1: IPv4 and IPv6 from eth0 to net1, 2 policies, 3 sources, 2 BFD peers"
    assert (done.stdout, done.stderr, done.returncode) == (f"{path}: valid ({summary})\n", "", 0)


def test_every_fault_is_a_line_on_standard_error_and_status_2(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.yaml", changed({"bfd.minTX": 0, "polices": [], "policies": ABSENT}))
    done = _check(path)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{path}: polices: is not a known field; did you mean policies?",
        f"{path}: bfd.minTX: 0 is out of range; give 1 to 60000 (milliseconds)",
    ]
    assert done.returncode == 2


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.yaml", changed({"policies": []}))
    done = _check(path)
    assert done.stderr == (
        f"{path}: warning: policies: no source is listed, so nothing is forwarded; "
        "list the sources to forward\n"
    )
    assert done.stdout == (
        f"{path}: valid (gw1: nothing from eth0 to net1, 0 policies, 0 sources, 2 BFD peers)\n"
    )
    assert done.returncode == 0


def test_one_bad_file_of_several_fails_and_the_others_are_told(tmp_path: Path) -> None:
    fine = _file(tmp_path, "fine.yaml", good())
    done = _check(tmp_path / "none.yaml", fine)
    assert done.stderr == (
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory; "
        "check the path and its permissions\n"
    )
    assert done.stdout.startswith(f"{fine}: valid (")
    assert done.returncode == 2


def test_a_dash_is_standard_input() -> None:
    assert _check("-", stdin=json.dumps(good())).stdout.startswith("-: valid (gw1")
    broken = _check("-", stdin="a:\n\tb: 1\n")
    assert broken.stderr == "-: line 2, column 1: a tab is not allowed here; indent with spaces\n"
    assert broken.returncode == 2


def test_json_is_an_object_per_file(tmp_path: Path) -> None:
    bad = _file(tmp_path, "bad.yaml", changed({"policies.0.ipBlocks.0": "10.0.0.0/33"}))
    done = _check("--json", bad, "-", stdin=json.dumps(changed({"policies": []})))
    first, second = map(json.loads, done.stdout.splitlines())
    assert done.stderr == ""
    assert done.returncode == 2
    (fault,) = first.pop("faults")
    assert first == {"file": str(bad), "valid": False, "summary": None, "warnings": []}
    assert (fault["path"], fault["value"]) == ("policies[0].ipBlocks[0]", "'10.0.0.0/33'")
    assert fault["message"] == (
        f"{fault['path']}: {fault['value']} {fault['problem']}; {fault['remedy']}"
    )
    assert (second["file"], second["valid"], second["faults"]) == ("-", True, [])
    assert [warning["path"] for warning in second["warnings"]] == ["policies"]


def test_no_file_is_a_usage_error() -> None:
    done = _check()
    assert done.returncode == 2
    assert "Missing argument" in done.stderr


@pytest.mark.parametrize(
    "command", ["run", "agent", "plan", "policies", "ports", "flows", "doctor"]
)
def test_other_commands_give_the_same_lines_and_touch_nothing(tmp_path: Path, command: str) -> None:
    path = _file(tmp_path, "a.yaml", changed({"bfd.minTX": 0}))
    _, faults = parse_bytes(path.read_bytes())
    runtime = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "vegd", command, "--config", path],
        env={"PATH": "/usr/bin:/bin", "VEGD_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == f"vegd: {path}: {faults[0]}\n"
    assert done.returncode == 2
    assert not runtime.exists()
