"""Key files (checklist G6, G8): what is accepted, what is refused in which words, what is kept."""

import logging
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.config import SessionConfig, SessionKey
from bfd.keys import KeyFileError, KeyFiles, read_secret, with_secrets
from tests.support.bfd import FAST

SHA1 = AuthType.METICULOUS_KEYED_SHA1
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def key_file(directory: Path, content: bytes, name: str = "key") -> Path:
    """A key file in place of the one before, as an editor or a Secret makes it."""
    fresh = directory / f"{name}.new"
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    return fresh.rename(directory / name)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"open sesame", b"open sesame"),
        (b"open sesame\n", b"open sesame"),
        (b"open sesame\r\n", b"open sesame"),
        (b" open ", b" open "),
        (b"k", b"k"),
        (b"0x00ff\n", b"\x00\xff"),
        (b"0XABcd", b"\xab\xcd"),
        (b"0x" + b"5a" * 20, b"\x5a" * 20),
        (b"k" * 20, b"k" * 20),
        (b"0", b"0"),
    ],
)
def test_G8_text_and_hexadecimal(tmp_path: Path, content: bytes, secret: bytes) -> None:
    assert read_secret(str(key_file(tmp_path, content)), SHA1) == secret


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", SHA1, "is empty; write the key"),
        (b"\n", SHA1, "is empty; write the key"),
        (b"0x", SHA1, "begins with 0x, but"),
        (b"0xabc", SHA1, "begins with 0x, but"),
        (b"0xab cd", SHA1, "begins with 0x, but"),
        (b"0xgg", SHA1, "begins with 0x, but"),
        (b"one\ntwo\n", SHA1, "more than one line of plain text"),
        (b"caf\xc3\xa9", SHA1, "plain text"),
        (b"tab\there", SHA1, "plain text"),
        (b"k" * 21, SHA1, "holds 21 bytes, and a meticulous-keyed-sha1 key has at most 20"),
        (b"k" * 17, AuthType.KEYED_MD5, "holds 17 bytes, and a keyed-md5 key has at most 16"),
        (b"0x" + b"00" * 17, AuthType.SIMPLE_PASSWORD, "holds 17 bytes, and a simple-password"),
        (b"k" * 5000, SHA1, "is larger than 4096 bytes"),
    ],
)
def test_G8_a_bad_file_is_refused_in_words_that_show_nothing_of_it(
    tmp_path: Path, content: bytes, kind: AuthType, message: str
) -> None:
    path = key_file(tmp_path, content)
    with pytest.raises(KeyFileError, match=re.escape(message)) as caught:
        read_secret(str(path), kind)
    assert ";" in str(caught.value), "what to do about it"
    shown = content.decode(errors="ignore").removeprefix("0x").strip()
    assert not shown or shown not in str(caught.value)


@given(content=st.binary(max_size=60), kind=st.sampled_from(AuthType))
def test_G8_any_content_is_a_key_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: AuthType
) -> None:
    path = key_file(tmp_path_factory.getbasetemp(), content)
    try:
        assert 1 <= len(read_secret(str(path), kind)) <= kind.longest_secret
    except KeyFileError:
        return


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_G6_a_file_that_is_open_to_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, b"open sesame")
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"open to everybody .mode {mode:04o}.; close it with"):
        read_secret(str(path), SHA1)
    path.chmod(0o640)
    assert read_secret(str(path), SHA1) == b"open sesame"


def test_G8_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, message in [
        ("absent", "cannot be read: No such file"),
        ("pipe", "is not a file"),
        (".", "cannot be read: Is a directory"),
        ("nul\0", "there can be no such file"),
    ]:
        with pytest.raises(KeyFileError, match=message):
            read_secret(str(tmp_path / name), SHA1)


def test_the_command_in_the_documentation_makes_a_key(tmp_path: Path) -> None:
    (command,) = re.findall(r"^# (head .*)$", DOCS.read_text(), re.MULTILINE)
    path = tmp_path / "bfd-1"
    command = command.replace("/etc/vegd/keys/bfd-1", str(path))
    subprocess.run(["sh", "-c", command], check=True, timeout=10)
    path.chmod(0o600)
    assert len(read_secret(str(path), SHA1)) == 20


# A set of sessions ------------------------------------------------------------------------------


def session(n: int, *files: Path, send: int = 0) -> SessionConfig:
    """A session as the control socket brings it: keys 0, 1, ... without secrets."""
    keys = tuple(AuthKey(i, SHA1, str(file)) for i, file in enumerate(files))
    key = SessionKey("10.0.0.1", f"10.0.1.{n}")
    return replace(FAST, key=key, auth=AuthConfig(keys, send) if keys else None)


def secrets(configs: list[SessionConfig]) -> list[list[bytes]]:
    return [[key.secret for key in c.auth.keys] if c.auth else [] for c in configs]


def in_force(configs: list[SessionConfig]) -> dict[SessionKey, SessionConfig]:
    return {config.key: config for config in configs}


def test_the_secrets_come_in_and_the_rest_stays(tmp_path: Path) -> None:
    files = KeyFiles()
    a, b = key_file(tmp_path, b"one", "a"), key_file(tmp_path, b"two", "b")
    loaded = files.load([session(1), session(2, a), session(3, a, b)], {})
    assert secrets(loaded) == [[], [b"one"], [b"one", b"two"]]
    assert files.faults == ()


def test_a_session_without_usable_keys_waits_and_the_others_do_not(tmp_path: Path) -> None:
    files = KeyFiles()
    a = key_file(tmp_path, b"one")
    bad = tmp_path / "absent"
    loaded = files.load([session(1), session(2, a, bad), session(3, bad), session(4, bad)], {})
    assert [config.key.peer for config in loaded] == ["10.0.1.1"]
    why = (
        f"'{bad}' cannot be read: No such file or directory; "
        "the user that the BFD engine runs as must be able to"
    )
    assert files.faults == (
        f"session 10.0.0.1 -> 10.0.1.2: auth.keys[1].file: {why}",
        f"session 10.0.0.1 -> 10.0.1.3 and 1 more: auth.keys[0].file: {why}",
    )
    key_file(tmp_path, b"two", "absent")
    assert len(files.load([session(2, a, bad), session(3, bad)], {})) == 2
    assert files.faults == ()


def test_new_keys_that_cannot_be_used_leave_the_whole_session_as_it_was(tmp_path: Path) -> None:
    files = KeyFiles()
    old = files.load([session(1, key_file(tmp_path, b"one"))], {})
    wanted = replace(session(1, tmp_path / "absent"), detect_mult=9, enabled=False)
    (kept,) = files.load([wanted], in_force(old))
    # What it has to obey at once is that the gateway cannot forward.
    assert kept == replace(old[0], enabled=False)


def test_known_keys_whose_file_has_gone_bad_go_on_with_the_rest_as_wanted(tmp_path: Path) -> None:
    files = KeyFiles()
    path = key_file(tmp_path, b"one")
    old = files.load([session(1, path)], {})
    path.unlink()
    (kept,) = files.load([replace(session(1, path), detect_mult=9)], in_force(old))
    assert kept == replace(old[0], detect_mult=9)
    assert len(files.faults) == 1


def test_a_fault_is_logged_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = KeyFiles()
    with caplog.at_level(logging.INFO, "bfd.keys"):
        for _ in range(3):
            files.load([session(1, tmp_path / "key")], {})
        key_file(tmp_path, b"open sesame")
        files.load([session(1, tmp_path / "key")], {})
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "open sesame" not in caplog.text


def test_a_change_is_seen_when_the_file_has_come_to_rest(tmp_path: Path) -> None:
    files = KeyFiles()
    path = key_file(tmp_path, b"one")
    configs = [session(1, path)]
    assert [files.have_changed(configs) for _ in range(4)] == [False, True, False, False]
    key_file(tmp_path, b"two")
    assert [files.have_changed(configs) for _ in range(3)] == [False, True, False]
    path.chmod(0o644)
    assert [files.have_changed(configs) for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [files.have_changed(configs) for _ in range(3)] == [False, True, False]
    target = key_file(tmp_path, b"three", "other")
    path.symlink_to(target)
    assert [files.have_changed(configs) for _ in range(3)] == [False, True, False]


def test_G6_a_loaded_key_does_not_show_its_secret(tmp_path: Path) -> None:
    auth = session(1, key_file(tmp_path, b"open sesame")).auth
    assert auth is not None
    loaded = with_secrets(auth)
    assert loaded.sending.secret == b"open sesame"
    assert "sesame" not in f"{loaded!r} {loaded} {loaded.to_json()}"
