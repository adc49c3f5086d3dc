"""What a support bundle holds, and how secrets stay out of it.

Keys of BFD stand in files, which are never packed. Should one have got into the configuration, or
anywhere else, it is found there by its content: the key files are read to know what to remove, in
every form that a key can be written in. From the configuration goes besides whatever a field named
like a secret holds, and every comment, because it is read and written anew.
"""

import base64
import contextlib
import io
import re
import tarfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vegd.yamltext import parse_yaml

REMOVED = "(removed)"

_SECRET = re.compile(r"key|pass|secret|token|credential", re.IGNORECASE)
_SECRET_ENV = re.compile(r"pass|secret|token|credential|(^|_)key($|_)", re.IGNORECASE)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SHORTEST = 4
"""A shorter key would be found in the middle of words and numbers everywhere."""


def safe_configuration(data: bytes) -> tuple[str, frozenset[bytes]]:
    """The configuration without secrets, and those that it or its key files hold. What is no YAML
    is left out, because nobody can say what of it is a secret."""
    value, faults = parse_yaml(data)
    if value is None:
        problems = "".join(f"# {fault.path or 'file'}: {fault.problem}\n" for fault in faults)
        return f"# left out, because it is no valid YAML\n{problems}", frozenset()
    text = yaml.safe_dump(_without_secrets(value), sort_keys=False, allow_unicode=True)
    contents = [_read(name) for name in _key_files(value)]
    return text, frozenset(form for content in contents for form in _forms(content))


def _without_secrets(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(each, str(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each, name) for each in value]
    return REMOVED if _SECRET.search(name) and value is not None else value


def safe_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object of the API server without what may be secret: values of environment variables that
    are named so, vegd's configuration as `safe_configuration` leaves it, and the copy of the whole
    that kubectl keeps in an annotation. Who has written which field is left out as well."""
    metadata = dict(value.get("metadata") or {})
    metadata.pop("managedFields", None)
    notes = metadata.get("annotations")
    if notes:
        metadata["annotations"] = {k: v for k, v in notes.items() if k != _LAST_APPLIED}
    safe = {name: _without_env(each) for name, each in value.items()} | {"metadata": metadata}
    data = safe.get("data")
    if value.get("kind", "ConfigMap") == "ConfigMap" and isinstance(data, Mapping):
        safe["data"] = {
            name: safe_configuration(str(text).encode())[0] for name, text in data.items()
        }
    return safe


def _without_env(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_env(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {name: _without_env(each) for name, each in value.items()}
    is_secret = _SECRET_ENV.search(str(value.get("name", "")))
    if is_secret and isinstance(value.get("value"), str):
        kept["value"] = REMOVED
    return kept


def _key_files(value: Any) -> Iterable[str]:
    """Every path below a field "file", wherever it stands."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "file" and isinstance(each, str):
                yield each
            else:
                yield from _key_files(each)
    elif isinstance(value, list):
        for each in value:
            yield from _key_files(each)


def _read(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(4096)
    except (OSError, ValueError):
        return b""


def _forms(content: bytes) -> Iterable[bytes]:
    """A key as text, as its bytes, in hexadecimal and in base64."""
    plain = content.strip()
    keys = {plain, plain.removeprefix(b"0x")}
    with contextlib.suppress(ValueError):
        keys.add(bytes.fromhex(plain.removeprefix(b"0x").decode("ascii")))
    for key in keys:
        for form in (key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key)):
            if len(form) >= _SHORTEST:
                yield form


def scrub(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """The same without these secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        data = data.replace(secret, REMOVED.encode())
    return data


def archive(top: str, files: Mapping[str, bytes], secrets: frozenset[bytes]) -> bytes:
    """A tar.gz of the files below a directory, each without the secrets."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            safe = scrub(data, secrets)
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime, entry.mode = len(safe), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(safe))
    return packed.getvalue()
