"""Neighbour announcements: "this address is at this MAC", told to everybody on the link.

Whoever has the address in his neighbour cache with another MAC, that of the gateway that had it
before, would otherwise send there until his entry has grown old. Frames are sent by a packet
socket (packet(7)), so that they need neither a route nor an address that is ready for use.
"""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from dataplane.errors import PermissionDenied, Refused
from dataplane.model import IPAddress

_ARPHRD_ETHER = 1
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1").packed
_ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
"""RFC 2464 §7."""
_ROUTER, _OVERRIDE = 0x80, 0x20


def announce(interface: str, addresses: Iterable[IPAddress], *, router: bool) -> int:
    """Send one frame for each address; returns how many. An interface without Ethernet has no
    neighbours to tell. `router`: whether the machine forwards IPv6 (RFC 4861 §4.4, R flag).

    Raises:
        PermissionDenied: CAP_NET_RAW is missing.
        Refused: the interface is gone, or down.
    """
    count = 0
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
            channel.bind((interface, 0))
            _, _, _, kind, mac = channel.getsockname()
            for address in addresses if kind == _ARPHRD_ETHER else ():
                channel.send(frame(mac, address, router=router))
                count += 1
    except PermissionError as exc:
        raise PermissionDenied(
            f"neighbours on {interface} cannot be told of our addresses: CAP_NET_RAW is missing; "
            "run as root, or give the process that capability"
        ) from exc
    except OSError as exc:
        raise Refused(f"announcement on {interface}", exc.errno or 0) from exc
    return count


def frame(mac: bytes, address: IPAddress, *, router: bool) -> bytes:
    """The Ethernet frame that announces an address of either family."""
    if isinstance(address, IPv4Address):
        return gratuitous_arp(mac, address)
    return unsolicited_advertisement(mac, address, router=router)


def gratuitous_arp(mac: bytes, address: IPv4Address) -> bytes:
    """An ARP Announcement (RFC 5227 §2.3): a request for the own address, to all."""
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body = fixed + mac + address.packed + bytes(6) + address.packed
    return _BROADCAST + mac + b"\x08\x06" + body


def unsolicited_advertisement(mac: bytes, address: IPv6Address, *, router: bool) -> bytes:
    """An unsolicited Neighbor Advertisement with the Override flag to all nodes (RFC 4861 §7.2.6),
    with the hop limit of 255 that receivers insist on (§7.1.2)."""
    flags = _OVERRIDE | (_ROUTER if router else 0)
    target_link_layer = struct.pack("!BB", 2, 1) + mac
    rest = bytes((flags, 0, 0, 0)) + address.packed + target_link_layer
    length = 4 + len(rest)
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", length, socket.IPPROTO_ICMPV6)
    checksum = _checksum(pseudo + struct.pack("!BBH", 136, 0, 0) + rest)
    header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_ICMPV6, 255)
    message = struct.pack("!BBH", 136, 0, checksum) + rest
    return _ALL_NODES_MAC + mac + b"\x86\xdd" + header + address.packed + _ALL_NODES + message


def _checksum(data: bytes) -> int:
    """RFC 1071; the data is a whole number of 16-bit words."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
