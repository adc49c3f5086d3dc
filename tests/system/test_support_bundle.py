"""`vegd support-bundle` beside a daemon with BFD keys."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import build

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

KEY = "s3cr3t-BFD-word"


def test_a_bundle_tells_much_and_no_key(netns: Callable[[str], str], tmp_path: Path) -> None:
    site = build(netns, tmp_path)
    key = tmp_path / "bfd-1"
    key.write_text(KEY)
    key.chmod(0o600)
    keys = [{"id": 1, "type": "keyed-sha1", "file": str(key)}]
    site.write(bfd={"peers": [{"address": "10.255.255.255", "auth": {"keys": keys}}]})
    bundle = tmp_path / "bundle.tar.gz"
    command = site.command(
        "support-bundle",
        *("--config", str(site.config), "--runtime-dir", str(site.runtime_dir)),
        *("-o", str(bundle)),
    )
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as tar:
        files = {Path(each.name).name: tar.extractfile(each) for each in tar.getmembers()}
        texts = {name: file.read().decode() for name, file in files.items() if file}
    assert not [name for name, text in texts.items() if KEY in text or KEY.encode().hex() in text]
    assert not {"bfd-1", "bfd.sock", "agent.sock"} & texts.keys()
    assert not [name for name in texts if "journal" in name]
    assert '"state": "ready"' in texts["status.json"]
    assert '"10.255.255.255"' in texts["sessions.json"]
    assert texts["plan.txt"] == "nothing to change\n"
    assert str(key) in texts["configuration.yaml"]
    assert "table inet vegd" in texts["nft-table.txt"]
    assert "172.17.0.11/16" in texts["ip-address.txt"]
    assert "default via 172.17.0.1" in texts["ip-4-route.txt"]
    assert "lookup 1001" in texts["ip-4-rule.txt"]
    assert "nf_conntrack_count" in texts["proc.txt"]
    assert "vegd " in texts["versions.txt"]
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 1
    assert f"vegd: {bundle}: cannot be written: File exists; name another by -o" in again.stderr
