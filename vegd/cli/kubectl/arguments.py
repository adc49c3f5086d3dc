"""The command line of the plugin, read by argparse so that options may stand anywhere, as kubectl's
may."""

import argparse
import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

_ABOUT = """The VPC egress gateways of a cluster: how they are, why they are not well, and which way
packets take.

It reads with your own rights and writes nothing; drain annotates a gateway pod and runs a command
in it."""

_STATUSES = "Exit status: 0 well, 1 not well, 2 bad usage, 3 the cluster could not be asked."


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of one command; SystemExit 2 with a complaint for what cannot be used."""
    parser = argparse.ArgumentParser(
        prog="kubectl vegd",
        description=_ABOUT,
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_status, _why, _trace, _drain, _support_bundle):
        add(commands)
    return parser.parse_args(arguments)


_Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no other name for it


def _command(
    commands: "_Commands[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about.splitlines()[0],
        description=about,
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(module=name.replace("-", "_"))
    add = parser.add_argument
    add("-n", "--namespace", metavar="NAME", default="", help="default: that of the context")
    add("--kubeconfig", metavar="FILE", type=Path, help="default: $KUBECONFIG, ~/.kube/config")
    add("--context", metavar="NAME", default="", help="of the kubeconfig; default: its current one")
    add(
        "--api-group",
        metavar="GROUP",
        default=os.environ.get("VEGD_API_GROUP", "kubeovn.io"),
        help="of the gateways, as of vegd controller (default: $VEGD_API_GROUP, else kubeovn.io)",
    )
    return parser


def _as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")


def _everywhere(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", dest="everywhere", help="of all namespaces"
    )


def _status(commands: "_Commands[argparse.ArgumentParser]") -> None:
    about = "show how gateways are\n\nWith a name: each replica, its sessions, paths and ports."
    parser = _command(commands, "status", about)
    parser.add_argument("gateway", metavar="GATEWAY", nargs="?", default="")
    _everywhere(parser)
    _as_json(parser)


def _why(commands: "_Commands[argparse.ArgumentParser]") -> None:
    about = """say what is wrong with a gateway or a pod, and what to do

Of a pod: which gateways take its packets, and why others do not. A name that both a gateway and a
pod have is the gateway's; write pod/NAME for the other."""
    parser = _command(commands, "why", about)
    parser.add_argument("name", metavar="GATEWAY|POD")
    _as_json(parser)


def _trace(commands: "_Commands[argparse.ArgumentParser]") -> None:
    about = """say which way the packets of a pod take to a destination

Vpc, gateway, policy, next hops, and the address and ports that the destination sees."""
    parser = _command(commands, "trace", about)
    parser.add_argument("pod", metavar="POD")
    parser.add_argument("destination", metavar="ADDRESS", type=_address)
    parser.add_argument(
        "--ovn-nb",
        metavar="REMOTE",
        default="",
        help="compare with OVN's northbound database: unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="send a request from the pod (curl, wget or ping in it) and compare the address that "
        "the destination answers with",
    )
    parser.add_argument(
        "--port", type=_port, default=80, help="of the request by --probe, HTTP (default: 80)"
    )
    _as_json(parser)


def _drain(commands: "_Commands[argparse.ArgumentParser]") -> None:
    about = """take a gateway pod out of use without loss, and wait until nothing passes it

Its sessions go AdminDown, so that OVN sends new packets elsewhere; it forwards on."""
    parser = _command(commands, "drain", about)
    parser.add_argument("pod", metavar="POD")
    parser.add_argument("--undo", action="store_true", help="end the drain: take it into use again")
    parser.add_argument(
        "--quiet-for",
        metavar="SECONDS",
        type=_seconds,
        default=2.0,
        help="it is drained when nothing was forwarded for so long (default: 2)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="give up waiting after so long; it drains on (default: 60)",
    )


def _support_bundle(commands: "_Commands[argparse.ArgumentParser]") -> None:
    about = """pack what who helps from afar needs: resources, status, logs

No Secret is read, and what looks like one in an object is taken out. What could not be had is
listed in missing.txt of the archive."""
    parser = _command(commands, "support-bundle", about)
    parser.add_argument("gateway", metavar="GATEWAY", nargs="?", default="")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it")
    _everywhere(parser)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; give an IPv4 or IPv6 address"
        ) from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give seconds, 0 or more")
    return seconds
