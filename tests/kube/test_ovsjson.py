"""Messages are read as the library reads them, however the stream is cut."""

import json
from itertools import pairwise
from typing import Any

import ovs.json  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import kube.ovsdb  # noqa: F401 - has the library use the parser
from kube.ovsjson import Parser

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a\\"{}[]é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\}x'), inner, max_size=3)
    ),
    max_leaves=8,
)
_MESSAGE = st.dictionaries(st.text('a\\"}'), _JSON, max_size=3)


def _read(chunks: list[str]) -> list[Any]:
    """What a connection makes of a stream, as `ovs.jsonrpc.Connection.recv` does it."""
    found, parser = [], Parser()
    for chunk in chunks:
        text = chunk
        while text:
            text = text[parser.feed(text) :]
            if parser.is_done():
                found.append(parser.finish())
                parser = Parser()
    return found


@given(st.lists(_MESSAGE, max_size=3), st.lists(st.integers(0, 200), max_size=6), st.booleans())
@example([{"a": 'x"}'}, {}], [9, 10, 11], False)
def test_a_stream_is_read_wherever_it_is_cut(
    messages: list[Any], cuts: list[int], is_ascii: bool
) -> None:
    stream = "".join(json.dumps(each, ensure_ascii=is_ascii) for each in messages)
    places = [0, *sorted(each for each in cuts if each < len(stream)), len(stream)]
    assert _read([stream[begin:end] for begin, end in pairwise(places)]) == messages
    assert _read([*stream]) == messages


@pytest.mark.parametrize("stream", ["HTTP/1.1 400 Bad Request", '"text"', "{]", '{"a": tru}', "]"])
def test_what_is_no_message_is_told_at_once(stream: str) -> None:
    (why,) = _read([stream])[:1]
    assert isinstance(why, str), "the library takes a text for an error"


@pytest.mark.parametrize("text", ['{"a": [1, "b"]}', "[]", '"a"', "1 2", "{", ""])
def test_a_whole_text_is_read(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        wanted = str
    found = ovs.json.from_string(text)
    assert found == wanted or (wanted is str and isinstance(found, str))


def test_the_library_uses_it() -> None:
    assert ovs.json.Parser is Parser or ovs.json.PARSER == ovs.json.PARSER_C
