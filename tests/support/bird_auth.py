"""BIRD with authentication, one choice of keys per interface, changed while it runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bfd.auth import AuthKey, AuthType
from tests.support.peers import Bird, _ask, _Daemon

_WORDS = {
    AuthType.SIMPLE_PASSWORD: "simple",
    AuthType.KEYED_MD5: "keyed md5",
    AuthType.METICULOUS_KEYED_MD5: "meticulous keyed md5",
    AuthType.KEYED_SHA1: "keyed sha1",
    AuthType.METICULOUS_KEYED_SHA1: "meticulous keyed sha1",
}


class AuthBird(Bird):
    """BIRD with sessions from pairs of (its address, our address). `keys` are by interface; the
    first of them is sent with, without any there is no authentication."""

    def __init__(
        self,
        ns: str,
        directory: Path,
        pairs: Mapping[str, str],
        keys: Mapping[str, Sequence[AuthKey]],
        ms: int,
        multiplier: int,
    ) -> None:
        directory.mkdir()
        self._configuration = directory / "bird.conf"
        self._socket = directory / "bird.ctl"
        self._neighbors = "\n".join(f"  neighbor {o} local {own};" for own, o in pairs.items())
        self._ms = ms
        self._multiplier = multiplier
        self._write(keys)
        _Daemon.__init__(
            self,
            ns,
            directory,
            *("bird", "-f", "-c", str(self._configuration), "-s", str(self._socket)),
            *("-P", str(directory / "bird.pid")),
        )

    def configure(self, keys: Mapping[str, Sequence[AuthKey]]) -> None:
        """Have it use other keys, without a restart."""
        self._write(keys)
        answer = _ask("birdc", "-s", str(self._socket), "configure")
        assert "Reconfigured" in answer, answer

    def _write(self, keys: Mapping[str, Sequence[AuthKey]]) -> None:
        sections = "\n".join(self._section(name, each) for name, each in keys.items())
        self._configuration.write_text(
            "router id 192.0.2.99;\nprotocol device { }\nprotocol bfd {\n"
            f"{sections}\n{self._neighbors}\n}}\n"
        )

    def _section(self, name: str, keys: Sequence[AuthKey]) -> str:
        timers = f"interval {self._ms} ms; multiplier {self._multiplier};"
        if not keys:
            return f'  interface "{name}" {{ {timers} }};'
        passwords = " ".join(
            f'password "{key.secret.decode()}" {{ id {key.key_id}; }};' for key in keys
        )
        kind = _WORDS[keys[0].type]
        return f'  interface "{name}" {{ {timers} authentication {kind}; {passwords} }};'
