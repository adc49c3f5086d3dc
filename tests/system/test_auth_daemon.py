"""Authentication as an operator sees it: the daemon, its configuration file, its key files."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from tests.support.daemon import Site, build, eventually, get

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

PEERS = {"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"}
SECRETS = ("open sesame", "open barley")
TYPE = AuthType.METICULOUS_KEYED_SHA1


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    yield built
    built.close()


def key_file(site: Site, key_id: int) -> Path:
    return site.directory / f"key-{key_id}"


def write_key(site: Site, key_id: int) -> None:
    path = key_file(site, key_id)
    path.write_text(SECRETS[key_id - 1] + "\n")
    path.chmod(0o600)


def configure(site: Site, *ids: int) -> None:
    """Give the gateway keys; it sends with the first one."""
    keys = [{"id": n, "type": TYPE.label, "file": str(key_file(site, n))} for n in ids]
    site.write(bfd=site.spec["bfd"] | {"auth": {"keys": keys}})


def configure_router(directory: Path, site: Site, *ids: int) -> None:
    """The same at the other end."""
    keys = tuple(AuthKey(n, TYPE, str(key_file(site, n))) for n in ids)
    configs = [
        SessionConfig(SessionKey(*pair), 50_000, 50_000, auth=AuthConfig(keys, ids[0]))
        for pair in PEERS.items()
    ]

    async def commit() -> None:
        async with Client(directory / "bfd.sock") as client:
            await client.configure(configs, 2)

    asyncio.run(commit())


def all_up(site: Site) -> bool:
    sessions = site.sessions()
    return len(sessions) == 2 and all(each["state"] == 3 for each in sessions)


def sends_with(site: Site, ids: list[int]) -> Callable[[], bool]:
    """Whether these keys are in force, the first one to send with."""

    def holds() -> bool:
        auths: list[dict[str, Any]] = [each["config"]["auth"] for each in site.sessions()]
        return len(auths) == 2 and all(
            auth["send"] == ids[0] and [key["key_id"] for key in auth["keys"]] == ids
            for auth in auths
        )

    return holds


def shown(site: Site) -> str:
    done = site.vegd("sessions", "--runtime-dir", str(site.runtime_dir), "show", "fdff::1")
    return " ".join(done.stdout.split())


def test_G7_a_key_is_changed_by_the_configuration_without_a_flap_and_never_shown(
    site: Site,
) -> None:
    router = site.router_engine(PEERS)
    for key_id in (1, 2):
        write_key(site, key_id)
    configure(site, 1)
    configure_router(router, site, 1)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: all_up(site), "both sessions Up")
        before = [each["transitions"] for each in site.sessions()]
        for ids in ([1, 2], [2, 1], [2]):
            configure(site, *ids)
            eventually(sends_with(site, ids), f"keys {ids} in force")
            configure_router(router, site, *ids)
        packets = [each["rx_packets"] for each in site.sessions()]
        eventually(
            lambda: all(
                now["rx_packets"] > then + 10
                for now, then in zip(site.sessions(), packets, strict=True)
            ),
            "packets with the new key",
        )
        assert [each["transitions"] for each in site.sessions()] == before
        detail = shown(site)
        assert "authentication sent with key 2" in detail
        assert "key 2 meticulous-keyed-sha1" in detail
        pages = (
            detail + get(site.gateway, "/metrics")[1] + str(site.status()) + str(site.sessions())
        )
    text = pages + daemon.log.read_text()
    files = [path for path in site.runtime_dir.rglob("*") if path.is_file()]
    content = text.encode() + b"".join(path.read_bytes() for path in files)
    for secret in SECRETS:
        for form in (secret, secret.encode().hex()):
            assert form.encode() not in content


def test_a_missing_key_file_is_told_and_the_old_key_stays_in_force(site: Site) -> None:
    router = site.router_engine(PEERS)
    write_key(site, 1)
    configure(site, 1)
    configure_router(router, site, 1)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: all_up(site), "both sessions Up")
        before = [each["transitions"] for each in site.sessions()]
        configure(site, 1, 2)
        problem = f"auth.keys[1].file: '{key_file(site, 2)}' cannot be read: No such file"

        def told() -> bool:
            status = site.status() or {}
            return any(problem in reason for reason in status.get("reasons", []))

        eventually(told, "the fault in the status")
        # The gateway works as before, so it stays ready.
        assert get(site.gateway, "/readyz")[0] == 200
        assert "vegd_bfd_key_faults 1.0" in get(site.gateway, "/metrics")[1]
        assert sends_with(site, [1])()
        write_key(site, 2)
        eventually(sends_with(site, [1, 2]), "the second key, without being told")
        eventually(lambda: not told(), "the fault gone")
        assert [each["transitions"] for each in site.sessions()] == before
    assert daemon.log.read_text().count(problem) == 1


def test_sessions_that_never_had_keys_wait_for_them(site: Site) -> None:
    router = site.router_engine(PEERS)
    configure(site, 1)
    with site.daemon() as daemon:
        daemon.wait_for("degraded", "auth.keys[0].file")
        assert get(site.gateway, "/readyz")[0] == 503
        assert site.sessions() == []
        write_key(site, 1)
        configure_router(router, site, 1)
        daemon.wait_for("ready")
        eventually(lambda: all_up(site), "both sessions Up")
