"""``vegd crds``: the definition of the resource, for an API group."""

import re
from typing import Annotated

import typer

from vegd.errors import UsageError

_KUBE_OVN = "kubeovn.io"
_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_GROUP = re.compile(rf"{_LABEL}(\.{_LABEL})+")
_MOST = 253


def crds(
    api_group: Annotated[
        str, typer.Option(metavar="GROUP", help="As for vegd controller.")
    ] = _KUBE_OVN,
) -> None:
    """Print the definition of the resource VpcEgressGateway, for kubectl apply.

    In a group other than Kube-OVN's its short name is vegd instead of veg.
    """
    import yaml  # noqa: PLC0415 - --help stays quick

    from kube.definitions import gateway_definition  # noqa: PLC0415

    if not _GROUP.fullmatch(api_group) or len(api_group) > _MOST:
        raise UsageError(
            f"--api-group: {api_group!r} is no API group; give a domain name with a dot, in small "
            "letters, for example egress.example.com"
        )
    typer.echo(yaml.safe_dump(gateway_definition(api_group), sort_keys=False), nl=False)
