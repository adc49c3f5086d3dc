"""Decoding into types: every fault, names that were nearly right, and what a draft can tell."""

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from vegd.document import Draft, Hint, Refusal, Text, decode


def _read_even(text: str) -> int | Refusal:
    if text.isdecimal() and int(text) % 2 == 0:
        return int(text)
    return Refusal("is not even", "add one")


class Leaf(Struct, frozen=True, kw_only=True, rename="camel"):
    big_number: Annotated[int, Meta(ge=1, le=9), Hint("give 1 to 9")] = 5
    even: Annotated[int, Text(_read_even), Hint("write an even number in quotes")] | None = None


class Tree(Struct, frozen=True, kw_only=True):
    leaf: Annotated[Leaf, Hint("describe the leaf")]
    leaves: tuple[Leaf, ...] = ()
    evens: Annotated[
        tuple[Annotated[int, Text(_read_even), Hint("write it")], ...],
        Meta(min_length=1),
        Hint("list"),
    ] = (2,)


def _messages(draft: Draft[Tree]) -> list[str]:
    return [str(fault) for fault in draft.faults]


def test_a_sound_document_becomes_its_type() -> None:
    draft = decode(Tree, {"leaf": {"bigNumber": 7, "even": "4"}, "leaves": [{}], "evens": ["0"]})
    assert draft.faults == []
    assert draft.value == Tree(leaf=Leaf(big_number=7, even=4), leaves=(Leaf(),), evens=(0,))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("bignumber", "bigNumber"),
        ("big_number", "bigNumber"),
        ("BIG-NUMBER", "bigNumber"),
        ("bigNumbr", "bigNumber"),
        ("evn", "even"),
    ],
)
def test_a_name_that_is_nearly_right_is_recognised(name: str, meant: str) -> None:
    assert _messages(decode(Tree, {"leaf": {name: 1}})) == [
        f"leaf.{name}: is not a known field; did you mean {meant}?"
    ]


def test_a_name_that_is_nothing_alike_gets_the_list() -> None:
    assert _messages(decode(Tree, {"leaf": {"x y\n": 1, 5: 2}})) == [
        r"leaf['x y\n']: is not a known field; the fields here are bigNumber, even",
        "leaf.5: is not a known field; the fields here are bigNumber, even",
    ]


def test_a_misspelt_field_is_not_missing_as_well() -> None:
    draft = decode(Tree, {"leav": {}})
    assert _messages(draft) == ["leav: is not a known field; did you mean leaf?"]
    assert not draft.is_sound("leaf")


def test_what_is_faulty_is_not_sound_and_nothing_inside_it() -> None:
    draft = decode(Tree, {"leaf": 5, "leaves": [{}, {"bigNumber": 0}]})
    assert _messages(draft) == [
        "leaf: 5 is not a mapping; write its fields as FIELD: VALUE, one a line (bigNumber, even)",
        "leaves[1].bigNumber: 0 is out of range; give 1 to 9",
    ]
    assert not draft.is_sound("leaf")
    assert not draft.is_sound("leaf", "even")
    assert draft.is_sound("leaves")
    assert not draft.is_whole("leaves")
    assert draft.is_whole("leaves", 0)
    assert draft.is_whole("evens")


def test_entries_keep_their_places_when_others_are_dropped() -> None:
    draft = decode(Tree, {"leaf": {}, "evens": ["1", "2", 3, "4"]})
    assert _messages(draft) == [
        "evens[0]: '1' is not even; add one",
        "evens[2]: 3 is not a text; write it",
    ]
    assert list(draft.entries(("evens",), draft.value.evens)) == [
        (("evens", 1), 2),
        (("evens", 3), 4),
    ]


def test_long_values_are_cut_and_odd_ones_described() -> None:
    draft = decode(Tree, {"leaf": {"bigNumber": "y" * 100, "even": {}}, "evens": 10**100})
    assert _messages(draft) == [
        f"leaf.bigNumber: '{'y' * 60}…' is not a whole number; give 1 to 9",
        "leaf.even: a mapping is not a text; write an even number in quotes",
        "evens: a number of more than 60 digits is not a list; list",
    ]
