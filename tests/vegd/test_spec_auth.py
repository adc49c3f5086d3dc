"""BFD authentication in the configuration: mistakes, what it compiles to, key files in check."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bfd.auth import AuthConfig, AuthKey, AuthType, Transition
from dataplane.model import Interface
from tests.vegd.spec_documents import ABSENT, changed, faults_of, good
from vegd.compile import Intent, compile  # noqa: A004  the design's word
from vegd.facts import NodeFacts
from vegd.spec import GatewaySpec

_TYPE = (
    "write what the peer has: meticulous-keyed-sha1, keyed-sha1, meticulous-keyed-md5, keyed-md5 "
    "or simple-password"
)
_KEYS = "list the keys, each as {id: NUMBER, type: TYPE, file: PATH}"
_WHOLE_PATH = "write the whole path, as /etc/vegd/keys/bfd-1"


def a_key(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"id": number, "type": "keyed-sha1", "file": f"/keys/{number}"} | fields


def with_auth(section: object, peer: object = ABSENT) -> dict[str, Any]:
    document = changed({"bfd.auth": section})
    if peer is not ABSENT:
        document["bfd"]["peers"][1]["auth"] = peer
    return document


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({}, f"bfd.auth.keys: is missing; {_KEYS}"),
        (
            {"keys": [a_key(256)]},
            "bfd.auth.keys[0].id: 256 is out of range; give 0 to 255, the same id at both ends",
        ),
        (
            {"keys": [a_key(type="sha1")]},
            f"bfd.auth.keys[0].type: 'sha1' is not one of the possible words; {_TYPE}",
        ),
        (
            {"keys": [a_key(file="keys/1")]},
            f"bfd.auth.keys[0].file: 'keys/1' is not an absolute path; {_WHOLE_PATH}",
        ),
        (
            {"keys": [a_key(file="/" + "k" * 255)]},
            f"bfd.auth.keys[0].file: '/{'k' * 59}…' is longer than 255 characters; {_WHOLE_PATH}",
        ),
        (
            {"keys": [a_key(1), a_key(2), a_key(1)]},
            "bfd.auth.keys[2].id: 1 is the id of bfd.auth.keys[0] too; give each key its own id",
        ),
        (
            {"keys": [a_key(1), a_key(2)], "send": 3},
            (
                "bfd.auth.send: 3 is the id of none of the keys; "
                "give one of them (1, 2), or leave it out for the first"
            ),
        ),
        (
            {"keys": [], "send": 3},
            "bfd.auth.send: 3 is the id of none of the keys; list the keys, or leave it out",
        ),
        (
            {"keys": [a_key(n) for n in range(9)]},
            "bfd.auth.keys: 9 is more than the 8 keys of a session; remove old ones",
        ),
        (
            {"keys": [a_key()], "transition": "on"},
            (
                "bfd.auth.transition: 'on' is not one of the possible words; "
                "write enabling or disabling"
            ),
        ),
        (
            {"keys": [a_key() | {"secret": "open sesame"}]},
            "bfd.auth.keys[0].secret: is not a known field; the fields here are id, type, file",
        ),
    ],
)
def test_a_mistake_has_its_one_message(auth: object, message: str) -> None:
    assert faults_of(with_auth(auth)) == [message]
    at_the_peer = message.replace("bfd.auth", "bfd.peers[1].auth")
    assert faults_of(with_auth(ABSENT_SECTION, auth)) == [at_the_peer]


ABSENT_SECTION = {"keys": []}


def compiled(document: dict[str, Any]) -> list[AuthConfig | None]:
    facts = NodeFacts(
        {
            name: Interface(name, i, "veth", True, 1500, ())
            for i, name in enumerate(["eth0", "ext0"])
        }
    )
    intent = compile(GatewaySpec.parse(document), facts)
    assert isinstance(intent, Intent)
    return [session.auth for session in intent.sessions]


def test_the_first_key_is_sent_unless_another_is_named() -> None:
    keys = (
        AuthKey(1, AuthType.KEYED_SHA1, "/keys/1"),
        AuthKey(2, AuthType.METICULOUS_KEYED_MD5, "/keys/2"),
    )
    document = {"keys": [a_key(1), a_key(2, type="meticulous-keyed-md5")]}
    assert compiled(with_auth(document)) == [AuthConfig(keys, 1)] * 2
    assert compiled(with_auth(document | {"send": 2})) == [AuthConfig(keys, 2)] * 2


def test_a_section_of_the_peer_is_taken_instead_also_an_empty_one() -> None:
    section, own = {"keys": [a_key(1)]}, {"keys": [a_key(2)], "transition": "disabling"}
    first = AuthConfig((AuthKey(1, AuthType.KEYED_SHA1, "/keys/1"),), 1)
    second = AuthConfig((AuthKey(2, AuthType.KEYED_SHA1, "/keys/2"),), 2, Transition.DISABLING)
    assert compiled(with_auth(section, own)) == [first, second]
    assert compiled(with_auth(section, {"keys": []})) == [first, None]
    assert compiled(good()) == [None, None]


def test_every_type_of_the_rfc_can_be_written() -> None:
    for kind in AuthType:
        (auth, _) = compiled(with_auth({"keys": [a_key(type=kind.label)]}))
        assert auth is not None
        assert auth.sending.type is kind


def test_a_transition_is_warned_of_until_it_is_finished() -> None:
    spec = GatewaySpec.parse(with_auth({"keys": [a_key()], "transition": "enabling"}))
    (warning,) = spec.warnings()
    assert str(warning) == (
        "bfd.auth.transition: 'enabling' lets the peer decide, once, whether packets are "
        "authenticated; finish the change when the peer has been switched"
    )


def check(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vegd", "check", str(path), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_check_warns_of_key_files_that_could_not_be_used_here(tmp_path: Path) -> None:
    right, open_to_all, absent = (tmp_path / name for name in ("right", "open", "absent"))
    right.write_text("open sesame\n")
    right.chmod(0o600)
    open_to_all.write_text("open sesame\n")
    open_to_all.chmod(0o644)
    keys = [a_key(n, file=str(f)) for n, f in enumerate((right, open_to_all, absent))]
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(with_auth({"keys": keys[:1]}, {"keys": keys})))
    done = check(path)
    assert done.returncode == 0
    is_open, is_absent = done.stderr.splitlines()
    assert is_open == (
        f"{path}: warning: bfd.peers[1].auth.keys[1].file: '{open_to_all}' is open to everybody "
        "(mode 0644); close it with chmod o-rw, or defaultMode: 0440 for a mounted Secret"
    )
    assert is_absent == (
        f"{path}: warning: bfd.peers[1].auth.keys[2].file: '{absent}' cannot be read: No such file "
        "or directory; the user that the BFD engine runs as must be able to"
    )
    (document,) = map(json.loads, check(path, "--json").stdout.splitlines())
    assert [each["path"] for each in document["warnings"]] == [
        "bfd.peers[1].auth.keys[1].file",
        "bfd.peers[1].auth.keys[2].file",
    ]
