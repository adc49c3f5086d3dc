"""YAML text to plain values, telling every duplicate key and the place of every mistake.

The parser's events are put together here instead of by PyYAML's own constructor, for four reasons:
a key that is given twice must be a fault and not a silent choice; ``no``, ``010``, ``1:30`` and
``2024-01-01`` must stay what was written (the rules are those of YAML 1.2: only ``true`` and
``false`` are truth values, only decimal digits are numbers); no tag may build an object; and the
input may be nested without bound, which the libyaml binding answers with a crash of the process.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from vegd.faults import Fault, Path, path_text, shown

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 32
"""Far beyond what the configuration needs."""
_MOST_DIGITS = 18

# What YAML 1.1 §5.1 leaves out: control characters, surrogates, the last two of each plane 0.
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUTH = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG_PREFIX = "tag:yaml.org,2002:"


def parse_yaml(data: bytes) -> tuple[object, tuple[Fault, ...]]:
    """The value of the one document in `data`, and what is wrong with its form.

    A value may be usable in spite of faults (a key given twice: the first one counts). When nothing
    is usable the value is None and there is at least one fault.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, (_text_fault(f"is not UTF-8 text in line {line}", "save it as UTF-8"),)
    if (control := _FORBIDDEN.search(text)) is not None:
        line = text.count("\n", 0, control.start()) + 1
        problem = f"line {line}: the character U+{ord(control[0]):04X} is not allowed"
        return None, (Fault("", "", problem, "remove it"),)
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except _Unusable as stop:
        return None, (*builder.faults, stop.fault)
    except yaml.YAMLError as error:
        return None, (*builder.faults, _syntax_fault(error, text))
    if builder.is_empty:
        return None, (_text_fault("is empty", "write at least internal, external and policies"),)
    return builder.result, tuple(builder.faults)


class _Unusable(Exception):
    """The rest of the document cannot be understood."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _events(text: str) -> Iterator[Any]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    value: list[object] | dict[str, object]
    path: Path
    anchor: str | None
    lines: dict[str, int] = field(default_factory=dict)
    key: str | None = None
    """The field whose value comes next, in a mapping."""
    is_repeated: bool = False
    """The key was given before; its value is read and dropped."""


class _Builder:
    """Puts the events together; never recursive, so that depth is a matter of counting."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.result: object = None
        self.is_empty = True
        self._stack: list[_Open] = []
        self._anchors: dict[str, object] = {}

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self._stack.pop()
                self._place(done.value, done.anchor)
            case yaml.AliasEvent():
                self._place_alias(event)
            case yaml.DocumentStartEvent() if not self.is_empty:
                where = f"line {_line(event)}: another document starts here"
                raise _Unusable(Fault("", "", where, "keep one document in the file"))

    def _open(self, value: list[object] | dict[str, object], event: Any) -> None:
        self._refuse_as_key(event)
        if event.tag is not None:
            raise _Unusable(_tag_fault(event))
        if len(self._stack) >= _DEEPEST:
            raise _Unusable(_depth_fault(_line(event)))
        self._stack.append(_Open(value, self._path_of_next(), event.anchor))

    def _expects_key(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and isinstance(top.value, dict) and top.key is None

    def _refuse_as_key(self, event: Any) -> None:
        if self._expects_key():
            where = f"line {_line(event)}: only a plain text can be the name of a field"
            raise _Unusable(Fault("", "", where, "write FIELD: VALUE"))

    def _path_of_next(self) -> Path:
        if not self._stack:
            return ()
        top = self._stack[-1]
        return (*top.path, len(top.value) if top.key is None else top.key)

    def _take_scalar(self, event: Any) -> None:
        if self._expects_key():
            self._take_key(str(event.value), _line(event))
        else:
            self._place(_scalar(event), event.anchor)

    def _place_alias(self, event: Any) -> None:
        self._refuse_as_key(event)
        if event.anchor not in self._anchors:
            where = f"line {_line(event)}: *{event.anchor} refers to no earlier &{event.anchor}"
            raise _Unusable(Fault("", "", where, "write the value itself, or quote the text"))
        self._place(self._anchors[event.anchor], None)

    def _place(self, value: object, anchor: str | None) -> None:
        # An anchor counts from the end of its value on, so nothing can contain itself.
        if anchor is not None:
            self._anchors[anchor] = value
        if not self._stack:
            self.result = value
            self.is_empty = value is None
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is not None:
            if not top.is_repeated:
                top.value[top.key] = value
            top.key = None

    def _take_key(self, key: str, line: int) -> None:
        top = self._stack[-1]
        top.key, top.is_repeated = key, key in top.lines
        first = top.lines.setdefault(key, line)
        if top.is_repeated:
            lines = f"lines {first} and {line}" if first != line else f"line {line}"
            problem = f"is given twice, in {lines}"
            self.faults.append(Fault(path_text((*top.path, key)), "", problem, "keep one of them"))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: Any) -> object:
    text = str(event.value)
    is_plain = event.tag is None and event.implicit[0]
    tag = str(event.tag or "").removeprefix(_TAG_PREFIX)
    if tag in ("str", "!") or (event.tag is None and not is_plain):
        return text
    value = _plain(text)
    if is_plain:
        return value
    expected = {"int": int, "float": float | int, "bool": bool, "null": type(None)}.get(tag)
    if expected is None or not isinstance(value, expected):
        raise _Unusable(_tag_fault(event))
    return value


def _plain(text: str) -> object:
    """What an unquoted text means. Numbers that no field could hold stay texts."""
    if _NULL.fullmatch(text):
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if len(text) <= _MOST_DIGITS:
        # A leading zero is an octal number to some and a decimal one to others.
        if _INTEGER.fullmatch(text) and (text.lstrip("+-") == "0" or text.lstrip("+-")[0] != "0"):
            return int(text)
        if _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text):
            return float(text)
    return text


def _text_fault(problem: str, remedy: str) -> Fault:
    return Fault("", "the configuration", problem, remedy)


def _tag_fault(event: Any) -> Fault:
    tag = shown(str(event.tag).replace(_TAG_PREFIX, "!!"))
    where = f"line {_line(event)}: the tag {tag} is not supported"
    return Fault("", "", where, "remove it and write the plain value")


def _depth_fault(line: int) -> Fault:
    where = f"line {line}: lists and mappings are nested more than {_DEEPEST} deep"
    return Fault("", "", where, "see docs/configuration.md for the form")


def _syntax_fault(error: yaml.YAMLError, text: str) -> Fault:
    """Where the text stops being YAML, and what usually is the reason there."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _text_fault("is not YAML", "check its indentation and punctuation")
    if "nesting depth" in _what(error):  # the parser's own limit, PyYAML 6.0.4 and later
        return _depth_fault(mark.line + 1)
    at = text[mark.index : mark.index + 1]
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    if at == "\t":
        return Fault("", "", f"{place}: a tab is not allowed here", "indent with spaces")
    remedy = "check the indentation and the punctuation there"
    if at == ":":
        remedy = "check the indentation, and put an IPv6 address inside [ ] or { } in quotes"
    return Fault("", "", f"{place}: {_what(error)}", remedy)


def _what(error: yaml.YAMLError) -> str:
    """The parser's words, with the place where the unfinished thing began."""
    detail = str(getattr(error, "problem", None) or "this is not YAML")
    context, begun = getattr(error, "context", None), getattr(error, "context_mark", None)
    if context and begun is not None:
        detail += f" {context} that begins in line {begun.line + 1}"
    return detail
