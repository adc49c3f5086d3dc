"""The cluster's certificate in a file: read anew now and then, and at once when it is suspected."""

from pathlib import Path

import pytest

from kube import authority
from kube.authority import Authority


def test_a_file_is_another_one_once_and_a_missing_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(b"old")
    known = Authority(file)
    file.write_bytes(b"new")
    assert not known.is_another(), "it is not time yet"
    known.suspect()
    assert (known.is_another(), known.is_another()) == (True, False)
    monkeypatch.setattr(authority, "_READ_S", 0.0)
    file.unlink()
    assert not known.is_another()
    file.write_bytes(b"new")
    assert not known.is_another()
    file.write_bytes(b"newer")
    assert (known.is_another(), known.is_another()) == (True, False)
