"""An API server under another certificate: what stands before it, with a key of its own.

``python -m tests.support.tls_proxy PORT PEM HOST PORT CA``: PEM has certificate and key; HOST, PORT
and CA are the API server's. Its end cuts every connection.
"""

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from vegd.lab.cluster.control_plane import ControlPlane


def certificate(pem: Path) -> bytes:
    """Make a certificate for the loopback that is its own authority, with its key beside it."""
    key = pem.with_suffix(".key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(pem), "-days", "2"),
            *("-subj", f"/CN={pem.stem}", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    alone = pem.read_bytes()
    pem.write_bytes(alone + key.read_bytes())
    return alone


@contextlib.contextmanager
def proxied(plane: ControlPlane, port: int, pem: Path) -> Iterator[None]:
    """The API server at a port of the loopback, under that certificate."""
    address = urlsplit(plane.url)
    command = [sys.executable, "-m", __name__, str(port), str(pem)]
    process = subprocess.Popen([*command, str(address.hostname), str(address.port), plane.ca])
    try:
        yield
    finally:
        process.kill()
        process.wait(5)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _main(port: str, pem: str, host: str, behind: str, ca: str) -> None:
    before, after = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    before.load_cert_chain(pem)
    after.load_verify_locations(ca)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(behind), ssl=after)
        await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=before)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
