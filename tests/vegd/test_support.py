"""Nothing secret gets into a support bundle."""

import base64
import io
import json
import tarfile
from pathlib import Path

import pytest

from vegd.support import REMOVED, archive, safe_configuration, safe_object, scrub

KEY = "s3cr3t-BFD-word"
RAW = bytes(range(0xA0, 0xB0))


def _config(tmp_path: Path, content: str, **fields: object) -> bytes:
    file = tmp_path / "bfd-1"
    file.write_text(content)
    keys = [{"id": 1, "type": "keyed-sha1", "file": str(file), **fields}]
    return json.dumps({"name": "gw1", "bfd": {"auth": {"keys": keys}}}).encode()


@pytest.mark.parametrize("content", [f"{KEY}\n", f"0x{RAW.hex()}\n", f"0x{RAW.hex().upper()}\n"])
def test_the_content_of_a_key_file_is_removed_from_everything_in_every_form(
    tmp_path: Path, content: str
) -> None:
    key = KEY.encode() if content.startswith("s") else RAW
    forms = (key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key))
    text, secrets = safe_configuration(_config(tmp_path, content, note=content.strip()))
    assert str(tmp_path / "bfd-1") in text
    packed = archive(
        "top", {"a.txt": b"<" + b"|".join(forms) + b">", "config": text.encode()}, secrets
    )
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = [tar.extractfile(each) for each in tar.getmembers()]
        whole = b"".join(file.read() for file in files if file)
    assert not [form for form in forms if form in whole]
    assert content.strip().encode() not in whole
    assert whole.startswith(b"<" + b"|".join([REMOVED.encode()] * 4) + b">")


@pytest.mark.parametrize("name", ["key", "password", "authKey", "clientSecret", "token"])
def test_what_is_named_like_a_secret_is_removed_from_the_configuration(
    tmp_path: Path, name: str
) -> None:
    text, _ = safe_configuration(_config(tmp_path, "other", **{name: KEY, "keys": [KEY]}))
    assert KEY not in text
    assert REMOVED in text
    assert "gw1" in text
    assert "keyed-sha1" in text


def test_comments_and_what_is_no_yaml_are_left_out() -> None:
    assert KEY not in safe_configuration(f"name: gw1  # {KEY}\n".encode())[0]
    text, _ = safe_configuration(f"name: [{KEY}\n".encode())
    assert text.startswith("# left out, because it is no valid YAML\n")
    assert KEY not in text


def test_a_key_file_that_is_missing_or_short_spoils_nothing(tmp_path: Path) -> None:
    data = _config(tmp_path, "1\n")
    _, secrets = safe_configuration(data)
    assert scrub(b"tx 100 ms, 1 of 2", secrets) == b"tx 100 ms, 1 of 2"
    (tmp_path / "bfd-1").unlink()
    assert safe_configuration(data)[1] == frozenset()


def test_an_object_of_the_cluster_keeps_no_secret_in_its_environment_or_configuration() -> None:
    env = [{"name": "BGP_PASSWORD", "value": "hunter2"}, {"name": "POD_IPS", "value": "10.0.0.1"}]
    container = {"name": "gateway", "env": env}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "kept": "yes"}
    pod = {
        "metadata": {"name": "gw-0", "managedFields": [{}], "annotations": applied},
        "spec": {"containers": [container], "serviceAccountName": "gw-vegd"},
    }
    safe = safe_object(pod)
    assert "hunter2" not in str(safe)
    assert safe["metadata"] == {"name": "gw-0", "annotations": {"kept": "yes"}}
    assert safe["spec"]["containers"][0]["env"][1] == env[1]
    config = {"metadata": {"name": "c"}, "data": {"gateway.yaml": "name: gw\npassword: hunter2\n"}}
    assert safe_object(config)["data"] == {"gateway.yaml": f"name: gw\npassword: {REMOVED}\n"}
