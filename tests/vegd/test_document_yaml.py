"""YAML text: what is understood, what is refused in which words, and that nothing escapes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vegd.yamltext import parse_yaml

_PUNCTUATION = "check the indentation and the punctuation there"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", 1),
        ("a: -7", -7),
        ("a: 0", 0),
        ("a: 1.5", 1.5),
        ("a: .5e1", 5.0),
        ("a: true", True),
        ("a: FALSE", False),
        ("a: null", None),
        ("a:", None),
        ("a: ~", None),
        # What YAML 1.1 would turn into something else.
        ("a: yes", "yes"),
        ("a: no", "no"),
        ("a: on", "on"),
        ("a: 010", "010"),
        ("a: 0x10", "0x10"),
        ("a: 1:20", "1:20"),
        ("a: 1_000", "1_000"),
        ("a: 2024-01-01", "2024-01-01"),
        ("a: =", "="),
        ("a: '1'", "1"),
        ("a: !!str 1", "1"),
        ("a: ! 1", "1"),
        ("a: !!int '1'", 1),
        ("a: fd00::2/64", "fd00::2/64"),
        ("a: ::1", "::1"),
        ("a: :10669", ":10669"),
        ("a: 10.0.0.1", "10.0.0.1"),
        (f"a: {'9' * 5000}", "9" * 5000),
        ("a: |\n  x\n  y\n", "x\ny\n"),
        ("a: [1, [2]]", [1, [2]]),
        ("a: {b: {c: 1}}", {"b": {"c": 1}}),
        ("x: &x [1]\na: [*x, *x]", [[1], [1]]),
        ("x: &x 1\na: *x", 1),
        ("<<: {b: 1}\na: 2", 2),
        ("\ufeffa: 1", 1),
        ("a: ü", "ü"),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    document, faults = parse_yaml(text.encode())
    assert faults == ()
    assert isinstance(document, dict)
    assert document["a"] == value
    assert type(document["a"]) is type(value)


def test_field_names_are_texts() -> None:
    assert parse_yaml(b"1: a\ntrue: b\nnull: c") == ({"1": "a", "true": "b", "null": "c"}, ())


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "--- ~\n", "---\n...\n"])
def test_an_empty_file_is_one_fault(text: str) -> None:
    document, faults = parse_yaml(text.encode())
    assert document is None
    assert [str(fault) for fault in faults] == [
        "the configuration is empty; write at least internal, external and policies"
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a:\n\tb: 1", "line 2, column 1: a tab is not allowed here; indent with spaces"),
        (
            b"a: 1\n b: 2",
            (
                "line 2, column 3: mapping values are not allowed in this context; check the "
                "indentation, and put an IPv6 address inside [ ] or { } in quotes"
            ),
        ),
        (
            b"a: 1\nb: [fd00::1, ::1]\n",
            (
                "line 2, column 14: did not find expected node content while parsing a flow "
                "node that "
                "begins in line 2; check the indentation, and put an IPv6 address inside [ ] or "
                "{ } "
                "in quotes"
            ),
        ),
        (
            b"a:\n  - [1\nb: 2\n",
            (
                "line 3, column 2: did not find expected ',' or ']' while parsing a flow sequence "
                "that begins in line 2; check the indentation, and put an IPv6 address inside [ "
                "] or "
                "{ } in quotes"
            ),
        ),
        (
            b"x: 1\na: 'x\n",
            (
                "line 3, column 1: found unexpected end of stream while scanning a quoted "
                "scalar that "
                f"begins in line 2; {_PUNCTUATION}"
            ),
        ),
        (b"a: 1\n---\nb: 2", "line 2: another document starts here; keep one document in the file"),
        (b"a: *b", "line 1: *b refers to no earlier &b; write the value itself, or quote the text"),
        (
            b"a: &b [*b]",
            "line 1: *b refers to no earlier &b; write the value itself, or quote the text",
        ),
        (
            b"a:\n  b: !secret x",
            "line 2: the tag '!secret' is not supported; remove it and write the plain value",
        ),
        (
            b"a: !!python/object/apply:os.system [id]",
            (
                "line 1: the tag '!!python/object/apply:os.system' is not supported; "
                "remove it and write the plain value"
            ),
        ),
        (
            b"a: !!int x",
            "line 1: the tag '!!int' is not supported; remove it and write the plain value",
        ),
        (b"[a]: 1", "line 1: only a plain text can be the name of a field; write FIELD: VALUE"),
        (b"a: 1\nb: \x07", "line 2: the character U+0007 is not allowed; remove it"),
        (b"a: 1\nb: \xff", "the configuration is not UTF-8 text in line 2; save it as UTF-8"),
        (
            b"[" * 100_000,
            (
                "line 1: lists and mappings are nested more than 32 deep; see "
                "docs/configuration.md for the form"
            ),
        ),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_what_is_not_usable_is_refused_with_its_place(data: bytes, message: str) -> None:
    document, faults = parse_yaml(data)
    assert document is None
    assert [str(fault) for fault in faults] == [message]


def test_every_field_given_twice_is_told_and_the_first_one_counts() -> None:
    text = "a: 1\nb:\n  - {c: 1, c: 2}\n  - d: [1]\n    e: 0\n    d: {x: 1, x: 2}\na: 3\na: 4\n"
    document, faults = parse_yaml(text.encode())
    assert document == {"a": 1, "b": [{"c": 1}, {"d": [1], "e": 0}]}
    assert [str(fault) for fault in faults] == [
        "b[0].c: is given twice, in line 3; keep one of them",
        "b[1].d: is given twice, in lines 4 and 6; keep one of them",
        "b[1].d.x: is given twice, in line 6; keep one of them",
        "a: is given twice, in lines 1 and 7; keep one of them",
        "a: is given twice, in lines 1 and 8; keep one of them",
    ]


def test_many_aliases_do_not_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    document, faults = parse_yaml("\n".join(lines).encode())
    assert faults == ()
    assert isinstance(document, dict)
    assert len(document) == 30


_YAML_TEXT = st.text(
    alphabet=st.sampled_from("ab01:-,?[]{}&*!|>'\"%@`#~<=\t\n \\.u\x00ü\u2028"), max_size=60
)


@given(data=st.one_of(st.binary(max_size=80), _YAML_TEXT.map(str.encode)))
@example(data=b"? ")
@example(data=b"\xff\xfea\x00")
@example(data=b"%YAML 9.9\n---\na")
@example(data=b"&a &b c")
@example(data=b"*a : b")
@example(data=b"a: &x\n? *x\n: 1")
def test_any_bytes_give_a_value_or_faults_of_one_line(data: bytes) -> None:
    document, faults = parse_yaml(data)
    assert document is not None or faults
    assert all(str(fault).isprintable() for fault in faults)
