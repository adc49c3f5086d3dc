"""One probe of one target: an answer in time, or the reason why there was none.

Every probe speaks from the external address of its family, so that it takes the way of SNATed
traffic. ICMP needs CAP_NET_RAW, or a net.ipv4.ping_group_range that covers the process.
"""

import asyncio
import os
import socket
import struct

import h11

from vegd import web
from vegd.spec_probes import Target
from vegd.texts import Address

_ECHO = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_HEADER = struct.Struct("!BBHHH")
_PROTOCOLS = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


async def probe(target: Target, source: Address, timeout_s: float) -> str | None:
    """None if the target answers, else why not."""
    try:
        async with asyncio.timeout(timeout_s):
            if target.kind == "icmp":
                return await _icmp(target, source)
            if target.kind == "tcp":
                await _tcp(target, source)
                return None
            return await _http(target, source)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except (OSError, h11.ProtocolError) as exc:
        return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


async def _tcp(target: Target, source: Address) -> None:
    async with web.connection(str(target.address), target.port_used, str(source)):
        return


async def _http(target: Target, source: Address) -> str | None:
    """A status below 400 is an answer; a certificate is checked against `host`."""
    address = str(target.address)
    place = f"[{address}]" if target.address.version == 6 else address
    host = target.host or (place if target.port is None else f"{place}:{target.port}")
    async with web.connection(address, target.port_used, str(source)) as (reader, writer):
        if target.kind == "https":
            from vegd.tls import Tls  # noqa: PLC0415 - OpenSSL takes 5 MB

            channel: web.Channel = await Tls.open(reader, writer, target.host or address)
        else:
            channel = web.Plain(reader, writer)
        answer = await web.fetch(channel, host=host, path=target.path)
    return None if answer.status < 400 else f"HTTP status {answer.status}"


async def _icmp(target: Target, source: Address) -> str | None:
    version = target.address.version
    loop = asyncio.get_running_loop()
    with _icmp_socket(version) as channel:
        channel.setblocking(False)
        channel.bind((str(source), 0))
        cookie = os.urandom(16)
        # A datagram socket has the kernel choose the identifier; the payload tells ours for sure.
        head = _HEADER.pack(_ECHO[version], 0, 0, 1, 1)
        checksum = _checksum(head + cookie) if version == 4 else 0
        request = _HEADER.pack(_ECHO[version], 0, checksum, 1, 1) + cookie
        await loop.sock_sendto(channel, request, (str(target.address), 0))
        while True:
            answer, _ = await loop.sock_recvfrom(channel, 512)
            if version == 4 and channel.type == socket.SOCK_RAW:
                answer = answer[(answer[0] & 0xF) * 4 :]  # behind the IPv4 header
            if answer[:1] == bytes((_REPLY[version],)) and answer[_HEADER.size :] == cookie:
                return None


def _icmp_socket(version: int) -> socket.socket:
    try:
        return socket.socket(_FAMILIES[version], socket.SOCK_RAW, _PROTOCOLS[version])
    except PermissionError:
        try:
            return socket.socket(_FAMILIES[version], socket.SOCK_DGRAM, _PROTOCOLS[version])
        except PermissionError:
            raise OSError(
                "ICMP needs CAP_NET_RAW, or the process's group in net.ipv4.ping_group_range"
            ) from None


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
