"""How the texts of the configuration are read: addresses, prefixes, names, the listening address.

Each reader takes the text of one field and returns what it means, or a `Refusal` that says what is
wrong and what to write. They are stricter than the `ipaddress` module, which takes netmasks, zones
and host bits that a reader of the file would not expect. What can only be judged beside other
fields is judged in `vegd.spec_checks`.
"""

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from math import ceil

from dataplane.model import AddressRange
from vegd.document import Refusal

Address = IPv4Address | IPv6Address
InterfaceAddress = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

NAME_RULE = "1 to 64 letters, digits, '.', '_' or '-'"
INTERFACE_RULE = "a kernel interface name has 1 to 15 bytes without spaces, '/' and ':'"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_LISTEN_REMEDY = "write HOST:PORT, :PORT or [IPV6]:PORT, for example 127.0.0.1:10669"
_LONGEST_INTERFACE_NAME = 15
_LONGEST_PATH = 255


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: `host` is an address or a name, "" for every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(text: str) -> Address | Refusal:
    """An address alone, without prefix length and zone."""
    try:
        address = ip_address(text)
    except ValueError:
        if "/" in text and _is_address(text.partition("/")[0]):
            bare = text.partition("/")[0]
            return Refusal("has a prefix length", f"write the address alone: {bare}")
        return Refusal(
            "is not an IP address", "write one such as 192.168.0.1 or fd00::1 (in quotes)"
        )
    return _zone_or_mapped(address) or address


def read_interface_address(text: str) -> InterfaceAddress | Refusal:
    """An address of an interface: ADDRESS/LENGTH, the length being that of its subnet."""
    address, slash, length = text.partition("/")
    if not slash and _is_address(address):
        example = f"{address}/{64 if ':' in address else 24}"
        return Refusal("has no prefix length", f"add the length of its subnet, such as {example}")
    if not _is_address(address):
        example = "192.168.0.2/24 or fd00::2/64 (in quotes)"
        return Refusal("is not an address of an interface", f"write ADDRESS/LENGTH, as {example}")
    if (bad := _length_refusal(address, length)) is not None:
        return bad
    interface = ip_interface(text)
    return _zone_or_mapped(interface.ip) or interface


def read_network(text: str) -> Network | Refusal:
    """A prefix that forwarded packets can come from, see `read_prefix`."""
    network = read_prefix(text)
    if isinstance(network, Refusal):
        return network
    if (what := _unusable_source(network)) is not None:
        return Refusal(f"is {what}, which no forwarded packet comes from", "remove it")
    return network


def read_prefix(text: str) -> Network | Refusal:
    """A prefix; a bare address stands for itself alone, as in the custom resource."""
    # Each text is parsed once: there may be 100,000 of them.
    first, slash, length = text.partition("/")
    try:
        address = ip_address(first)
    except ValueError:
        return Refusal(
            "is not a prefix", "write ADDRESS/LENGTH, for example 10.0.0.0/24 or fd00::/64"
        )
    if slash and (bad := _length_refusal(first, length)) is not None:
        return bad
    if (odd := _zone_or_mapped(address)) is not None:
        return odd
    kind = IPv4Network if address.version == 4 else IPv6Network
    bits = int(length) if slash else address.max_prefixlen
    network = kind((int(address), bits), strict=False)
    if network.network_address != address:
        return Refusal("has bits set behind the prefix length", f"write {network}")
    return network


def read_address_range(text: str) -> AddressRange | Refusal:
    """One address, a prefix, or FIRST-LAST."""
    first_text, dash, last_text = text.partition("-")
    if dash:
        first, last = read_address(first_text.strip()), read_address(last_text.strip())
        if isinstance(first, Refusal) or isinstance(last, Refusal):
            return Refusal("is no range of addresses", "write FIRST-LAST, two IP addresses")
        if first.version != last.version:
            return Refusal("has ends of two families", "write one range for each family")
        if int(first) > int(last):
            return Refusal("ends before it begins", f"write {last}-{first}")
        return AddressRange(first, last)
    network = read_network(text)
    if isinstance(network, Refusal):
        return network
    return AddressRange(network[0], network[-1])


def read_ports(text: str) -> tuple[int, int] | Refusal:
    """FIRST-LAST, or one port."""
    ends = text.split("-")
    numbers = [int(end) for end in ends if end.isascii() and end.isdecimal() and len(end) <= 5]
    if len(numbers) != len(ends) or len(ends) > 2 or not all(1 <= n <= 65_535 for n in numbers):
        return Refusal("is no range of ports", "write FIRST-LAST within 1-65535, as in 1024-65535")
    first, last = numbers[0], numbers[-1]
    if first > last:
        return Refusal("ends before it begins", f"write {last}-{first}")
    return first, last


_BANDWIDTH = re.compile(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(M|Mi|G|Gi)")
_BITS = {"M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30}
_MOST_MBITS = 34_359
"""The kernel's shaper counts bytes per second in 32 bits (tc_ratespec in linux/pkt_sched.h)."""


def read_bandwidth(text: str) -> int | Refusal:
    """Mbit/s, or bit/s with a suffix, rounded up to whole Mbit/s."""
    found = _BANDWIDTH.fullmatch(text)
    if found is None or not text.isascii():
        return Refusal("is no bandwidth", "write Mbit/s, or bit/s with M, Mi, G or Gi, as in 1.5G")
    plain, number, unit = found.groups()
    from fractions import Fraction  # noqa: PLC0415 - for who limits the bandwidth only

    bits = Fraction(plain) * 10**6 if plain else Fraction(number) * _BITS[unit]
    mbits = ceil(bits / 10**6)
    if mbits > _MOST_MBITS:
        remedy = f"give at most {_MOST_MBITS} (Mbit/s), or 0 for no limit"
        return Refusal("is more than the kernel can shape", remedy)
    return mbits


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def read_mac(text: str) -> str | Refusal:
    """The MAC address of one interface, in small letters."""
    mac = text.lower()
    if not _MAC.fullmatch(mac):
        return Refusal("is no MAC address", "write it as 02:00:00:00:00:01, in quotes")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        return Refusal("is not the address of one interface", "write a unicast MAC address")
    return mac


def read_name(text: str) -> str | Refusal:
    """A name that goes into nftables objects and metric labels."""
    if _NAME.fullmatch(text):
        return text
    return Refusal("cannot be a name", f"use {NAME_RULE}")


def read_interface_name(text: str) -> str | Refusal:
    """A name that the kernel would accept for an interface (dev_valid_name in net/core/dev.c)."""
    if text == "lo":
        return Refusal("is the loopback interface", "name the one that packets go through")
    is_bad = not 1 <= len(text.encode(errors="replace")) <= _LONGEST_INTERFACE_NAME
    is_bad = is_bad or text in (".", "..")
    # '%' makes the kernel choose a number, '*' makes nftables match many interfaces.
    is_bad = is_bad or any(c.isspace() or not c.isprintable() or c in '/:%*"\\' for c in text)
    return Refusal("is not an interface name", INTERFACE_RULE) if is_bad else text


def read_file_name(text: str) -> str | Refusal:
    """A file for another process, which has a working directory of its own."""
    if text.startswith("/") and len(text) <= _LONGEST_PATH and text.isprintable():
        return text
    problem = "is not an absolute path"
    if len(text) > _LONGEST_PATH:
        problem = f"is longer than {_LONGEST_PATH} characters"
    return Refusal(problem, "write the whole path, as /etc/vegd/keys/bfd-1")


def read_listen(text: str) -> Listen | Refusal:
    """HOST:PORT, where HOST is empty, an address or a host name; IPv6 in brackets."""
    host, colon, digits = text.rpartition(":")
    if not colon or (not digits.isdecimal() and ":" not in host):
        return Refusal("has no port", _LISTEN_REMEDY)
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        example = f"[{host}]:{digits}" if _is_address(host) else "[::1]:10669"
        return Refusal("is ambiguous", f"put the IPv6 address in brackets, for example '{example}'")
    if not (digits.isascii() and digits.isdecimal() and 1 <= int(digits[:6]) <= 65535):
        return Refusal("has no usable port", "give a port from 1 to 65535 after the last colon")
    if host.startswith("["):
        host = host[1:-1]
        is_host = _is_address(host) and ":" in host and "%" not in host
    else:
        # A name whose last part is a number is an IPv4 address that went wrong.
        is_name = _HOST_NAME.fullmatch(host) and not host.rpartition(".")[2].isdecimal()
        is_host = not host or _is_address(host) or bool(is_name)
    if not is_host:
        return Refusal("names no host", _LISTEN_REMEDY)
    return Listen(host, int(digits))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _length_refusal(address: str, length: str) -> Refusal | None:
    most, example = (128, "fd00::/64") if ":" in address else (32, "10.0.0.0/24")
    if length.isascii() and length.isdecimal() and int(length[:4]) <= most:
        return None
    return Refusal(
        "is not a prefix",
        f"write ADDRESS/LENGTH with a length of 0 to {most}, for example {example}",
    )


def _zone_or_mapped(address: Address) -> Refusal | None:
    if not isinstance(address, IPv6Address):
        return None
    if address.scope_id is not None:
        bare = str(address).partition("%")[0]
        return Refusal("names a zone after '%'", f"write {bare}; the interface is known")
    if address.ipv4_mapped is not None:
        return Refusal("is an IPv4 address in IPv6 form", f"write {address.ipv4_mapped}")
    return None


def _unusable_source(network: Network) -> str | None:
    # A prefix that merely contains such ranges (0.0.0.0/0) is no mistake.
    if network.is_multicast:
        return "multicast"
    if network.is_loopback:
        return "loopback"
    return "link-local" if network.version == 6 and network.is_link_local else None
