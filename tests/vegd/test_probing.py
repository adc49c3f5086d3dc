"""HTTP and HTTPS probes against the standard library's server, in a process without OpenSSL, as
the agent is. (ICMP and TCP: tests/system/test_probes.py.)"""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAMES = "subjectAltName=DNS:gateway.example,IP:127.0.0.1"
PROBE = """
import sys
from bfd.lean import without_openssl
without_openssl()
import asyncio
from ipaddress import ip_address
from vegd.probing import probe
from vegd.spec_probes import Target
assert sys.modules["ssl"] is None and "_ssl" not in sys.modules
kind, port, path, host = sys.argv[1:]
target = Target(kind=kind, address=ip_address("127.0.0.1"), port=int(port), path=path,
                host=host or None)
for _ in range(2):
    print(asyncio.run(probe(target, ip_address("127.0.0.9"), 60)))
print("_ssl" in sys.modules)
"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        seen.append((self.client_address[0], self.headers["Host"], self.path))
        self.send_response({"/healthz": 200, "/moved": 302}.get(self.path, 503))
        self.end_headers()
        self.wfile.write(b"x" * 1_000_000)

    def log_message(self, *_: object) -> None:
        """Nothing."""


seen: list[tuple[str, str, str]] = []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=gateway.example", "-addext", NAMES]
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, *files], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[int]:
    """The port of a server of HTTPS, or of HTTP where that is asked for."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made.handle_error = lambda *_: None  # type: ignore[method-assign] # the probe hangs up early
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        made.socket = context.wrap_socket(
            made.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    seen.clear()
    yield made.server_port
    made.shutdown()
    thread.join()
    made.server_close()


def _probe(certificate: Path | None, kind: str, port: int, path: str, host: str = "") -> list[str]:
    trusted = {"SSL_CERT_FILE": str(certificate)} if certificate else {}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, kind, str(port), path, host],
        env={**os.environ, **trusted},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("server", ["http"], indirect=True)
def test_a_probe_by_http_judges_the_status_and_loads_no_openssl(server: int) -> None:
    assert _probe(None, "http", server, "/healthz") == ["None", "None", "False"]
    assert seen == [("127.0.0.9", f"127.0.0.1:{server}", "/healthz")] * 2
    assert _probe(None, "http", server, "/moved", "a.example") == ["None", "None", "False"]
    assert seen[-1] == ("127.0.0.9", "a.example", "/moved")
    assert _probe(None, "http", server, "/else")[0] == "HTTP status 503"


@pytest.mark.parametrize("server", ["https"], indirect=True)
def test_a_probe_by_https_judges_the_certificate_and_the_status(
    server: int, certificate: Path
) -> None:
    assert _probe(certificate, "https", server, "/healthz") == ["None", "None", "True"]
    assert _probe(certificate, "https", server, "/healthz", "gateway.example")[0] == "None"
    assert seen[-1] == ("127.0.0.9", "gateway.example", "/healthz")
    assert _probe(certificate, "https", server, "/else")[0] == "HTTP status 503"
    count = len(seen)
    assert "Hostname mismatch" in _probe(certificate, "https", server, "/healthz", "b.example")[0]
    assert "self-signed certificate" in _probe(None, "https", server, "/healthz")[0]
    assert len(seen) == count


@pytest.mark.parametrize("server", ["http"], indirect=True)
def test_what_is_no_tls_or_no_http_is_no_answer(server: int) -> None:
    assert "WRONG_VERSION" in _probe(None, "https", server, "/healthz")[0].upper().replace(" ", "_")
    with socket.create_server(("127.0.0.1", 0)) as mute:

        def hang_up() -> None:
            for reply in (b"220 mail.example ESMTP\r\n\r\n", b""):
                connection, _ = mute.accept()
                connection.recv(4096)
                connection.sendall(reply)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        first, second, _ = _probe(None, "http", mute.getsockname()[1], "/healthz")
        thread.join()
    assert first != "None" != second
