"""docs/configuration.md lists exactly what the types have, and its examples are sound."""

import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

from vegd.spec import (
    Announce,
    Auth,
    AuthKey,
    Bandwidth,
    Bfd,
    Conntrack,
    Dampening,
    Drain,
    ExternalSide,
    GatewaySpec,
    Input,
    Listen,
    Macvlan,
    Metrics,
    Peer,
    Policy,
    Probes,
    Side,
    Snat,
    Target,
    Unsolicited,
    parse_bytes,
)

_TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
_SECTIONS: dict[str, type[Struct]] = {
    "Top level": GatewaySpec,
    "internal": Side,
    "external": ExternalSide,
    "external.macvlan": Macvlan,
    "external.snat": Snat,
    "external.announce": Announce,
    "policies[]": Policy,
    "bfd": Bfd,
    "bfd.dampening": Dampening,
    "bfd.peers[]": Peer,
    "bfd.auth": Auth,
    "bfd.auth.keys[]": AuthKey,
    "bfd.unsolicited[]": Unsolicited,
    "drain": Drain,
    "bandwidth": Bandwidth,
    "conntrack": Conntrack,
    "input": Input,
    "metrics": Metrics,
    "probes": Probes,
    "probes.targets[]": Target,
}
_EXAMPLES = re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)


def _table(section: str) -> dict[str, list[str]]:
    """The rows below a heading: the field's name, and the cells that follow."""
    body = _TEXT.split(f"\n### {section}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def _range(annotation: Any) -> str | None:
    """``1 to 255`` for a field whose type has bounds."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Annotated:
            for extra in get_args(part)[1:]:
                if isinstance(extra, Meta) and extra.ge is not None:
                    return f"{extra.ge} to {extra.le}"
    return None


def _default(info: FieldInfo) -> str | None:
    """The default as the table must write it; None where words have to do."""
    default = info.default
    if info.required:
        return "required"
    if default is NODEFAULT or default is None or isinstance(default, Struct):
        return None
    if isinstance(default, Listen | str):
        return f"`{default}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "`[]`" if default == () else f"`{default}`"


@pytest.mark.parametrize("section", _SECTIONS)
def test_a_section_lists_exactly_the_fields_of_its_type(section: str) -> None:
    assert list(_table(section)) == [info.encode_name for info in fields(_SECTIONS[section])]


@pytest.mark.parametrize("section", _SECTIONS)
def test_defaults_and_ranges_are_those_of_the_type(section: str) -> None:
    table = _table(section)
    for info in fields(_SECTIONS[section]):
        kind, _, default, _ = table[info.encode_name]
        expected = _default(info)
        assert default == expected if expected else default not in ("required", "")
        bounds = _range(info.type)
        assert bounds is None or kind == f"integer, {bounds}"
        assert (bounds is not None) == kind.startswith("integer")


def test_there_is_no_section_without_a_type() -> None:
    assert re.findall(r"^### (.*)$", _TEXT, re.MULTILINE) == list(_SECTIONS)


@pytest.mark.parametrize("example", _EXAMPLES, ids=range(len(_EXAMPLES)))
def test_an_example_is_sound(example: str) -> None:
    spec, faults = parse_bytes(example.encode())
    assert faults == ()
    assert spec is not None
    assert spec.warnings() == ()


def test_there_are_examples() -> None:
    assert len(_EXAMPLES) == 2
