"""The command: what it loads, and a command line that cannot work."""

import subprocess
import sys
from pathlib import Path

import pytest

OBSERVER = Path(__file__).parents[2] / "vegd/observer"


def test_a_health_check_loads_next_to_nothing() -> None:
    code = f"import sys; sys.path.insert(0, {str(OBSERVER)!r}); import client; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"asyncio", "json", "re", "socket", "typing"} & set(done.stdout.split())


def test_the_observer_does_without_large_libraries() -> None:
    code = (
        "import sys\n"
        "from vegd.observer.client import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, '_ssl' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *loaded, has_openssl = done.stdout.splitlines()[-1].split()
    assert "msgspec" in loaded
    assert has_openssl == "False"
    large = {"nftables", "pyroute2", "aiohttp", "prometheus_client", "typer", "rich", "yaml"}
    assert not large & set(loaded)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--listen-address", "here"], 2, "vegd: --listen-address 'here' has no port; write HOST:"),
        (["--listen-address", "192.0.2.1:1"], 1, "address); free the port or name another one\n"),
        (["--receive-buffer", "x"], 2, "--receive-buffer: invalid int value: 'x'\n"),
        (["--receive-buffer", "-1"], 2, "--receive-buffer -1 is too small; give at least 4096"),
    ],
)
def test_a_command_line_that_cannot_work_is_told(
    options: list[str], status: int, message: str
) -> None:
    command = [sys.executable, "-m", "vegd", "observe", "--config", "/dev/null"]
    command += ["--network-status", "/dev/null", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
