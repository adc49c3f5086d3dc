"""A plain document, as YAML or JSON gives it, to frozen types: every fault, never an exception.

The types say what is expected: msgspec structs with their field names, and in ``Annotated`` the
range of a number (`msgspec.Meta`), how a text is read (`Text`) and what to write (`Hint`). Decoding
goes on behind a fault, with a stand-in for the faulty value, so that all faults come at once. The
result is therefore a `Draft`: whoever goes on to judge values asks it first whether what he needs
was sound, and stays silent where it was not, for one mistake deserves one message.
"""

import difflib
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

import msgspec

from vegd.faults import Fault, Path, path_text, shown

S = TypeVar("S", bound=msgspec.Struct)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text cannot be read as what it should be, and what to write instead."""

    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Text:
    """The value is written as a text, which `read` turns into what it means, or refuses."""

    read: Callable[[str], object]
    numbers: bool = False
    """Whether a whole number may be written without quotes."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What to write in a field, as half a sentence; the remedy where nothing better is known."""

    remedy: str


@dataclass(slots=True)
class Draft(Generic[S]):
    """What could be decoded, and how far it can be believed."""

    value: S
    faults: list[Fault] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)
    positions: dict[Path, list[int]] = field(default_factory=dict)
    """For lists from which faulty entries were dropped: where the others stood."""

    def complain(self, path: Path, value: object, problem: str, remedy: str) -> None:
        """Add a fault about a value that means nothing: what needs it cannot be judged."""
        self.broken.add(path)
        self.object_to(path, value, problem, remedy)

    def complain_of_field(self, path: Path, problem: str, remedy: str) -> None:
        """The same about a field that is missing or empty, so that no value can be shown."""
        self.broken.add(path)
        self.faults.append(Fault(path_text(path), "", problem, remedy))

    def object_to(self, path: Path, value: object, problem: str, remedy: str) -> None:
        """Add a fault about a value that means something and is wrong where it stands."""
        self.faults.append(Fault(path_text(path), shown(value), problem, remedy))

    def is_sound(self, *path: str | int) -> bool:
        """Whether neither this value nor anything that contains it was faulted."""
        return not any(path[:length] in self.broken for length in range(len(path) + 1))

    def is_whole(self, *path: str | int) -> bool:
        """Whether it is sound with everything in it."""
        inside = any(broken[: len(path)] == path for broken in self.broken)
        return not inside and self.is_sound(*path)

    def entries(self, path: Path, values: Sequence[V]) -> Iterator[tuple[Path, V]]:
        """The decoded entries of a list with their places in the document."""
        places = self.positions.get(path, range(len(values)))
        for place, value in zip(places, values, strict=True):
            yield (*path, place), value


def decode(kind: type[S], document: object) -> Draft[S]:
    """Decode a document (dicts, lists and scalars of any shape) into `kind`."""
    draft = Draft(cast("S", None))
    draft.value = cast("S", _Decoder(draft).struct(kind, document, ()))
    return draft


@dataclass(frozen=True, slots=True)
class _Field:
    """What the type of a field, or of the entries of a list, says."""

    kind: Any
    text: Text | None
    hint: str
    meta: msgspec.Meta

    @property
    def is_list(self) -> bool:
        return get_origin(self.kind) is tuple

    @property
    def is_struct(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, msgspec.Struct)


_fields = cache(msgspec.structs.fields)
"""Of a type; the library reads its annotations anew each time."""


@cache
def _field(annotation: Any) -> _Field:
    """Read an annotation: the outermost hint counts; ``None`` beside a type means optional."""
    kind, extras = annotation, []
    while True:
        if get_origin(kind) is Annotated:
            kind, *more = get_args(kind)
            extras += more
        elif (bare := _without_none(kind)) is not None:
            kind = bare
        else:
            break
    text = next((extra for extra in extras if isinstance(extra, Text)), None)
    hint = next((extra.remedy for extra in extras if isinstance(extra, Hint)), "")
    meta = next((extra for extra in extras if isinstance(extra, msgspec.Meta)), msgspec.Meta())
    return _Field(kind, text, hint, meta)


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType) or type(None) not in get_args(kind):
        return None
    return Union[tuple(part for part in get_args(kind) if part is not type(None))]  # noqa: UP007


class _Faulty:
    """In place of a value that could not be decoded."""


_FAULTY = _Faulty()


class _Decoder:
    def __init__(self, draft: Draft[Any]) -> None:
        self._draft = draft

    def struct(self, kind: type[msgspec.Struct], value: object, path: Path) -> msgspec.Struct:
        """Always a struct: what is missing or faulty is filled with the default or a stand-in."""
        if not isinstance(value, dict):
            self._draft.complain(path, value, "is not a mapping", _fields_wanted(kind))
            value = {}
        is_silent = not self._draft.is_sound(*path)
        fields = _fields(kind)
        misspelt = self._unknown(path, value, fields)
        decoded: dict[str, object] = {}
        for info in fields:
            there = (*path, info.encode_name)
            about = _field(info.type)
            if info.encode_name in value:
                result = self.value(about, value[info.encode_name], there)
            elif info.encode_name in misspelt:
                self._draft.broken.add(there)
                result = _FAULTY
            elif info.required:
                if not is_silent:
                    self._draft.complain_of_field(there, "is missing", about.hint)
                result = _FAULTY
            else:
                continue
            if result is not _FAULTY:
                decoded[info.name] = result
            elif info.required:
                decoded[info.name] = _stand_in(about)
        return kind(**decoded)

    def _unknown(
        self, path: Path, value: dict[object, object], fields: Sequence[msgspec.structs.FieldInfo]
    ) -> frozenset[str]:
        """Complain of the fields that do not exist; the result is what they seem to mean."""
        known = [info.encode_name for info in fields]
        required = {info.encode_name for info in fields if info.required}
        plain = {_letters(each): each for each in known}
        meant = set()
        for name in value:
            if name in known:
                continue
            text = name if isinstance(name, str) else shown(name)
            close = [plain[one] for one in _closest(_letters(text), plain)]
            # Of several that are equally near, one that is missing is the likeliest.
            close.sort(key=lambda one: (one in value, one not in required))
            meant.update(close[:1])
            remedy = f"did you mean {close[0]}?" if close else f"the fields here are {_list(known)}"
            self._draft.complain_of_field((*path, text), "is not a known field", remedy)
        return frozenset(meant)

    def value(self, about: _Field, value: object, path: Path) -> object:
        if value is None:
            remedy = f"{about.hint}, or remove the line"
            self._draft.complain_of_field(path, "has no value", remedy)
            return _FAULTY
        if about.is_struct:
            return self.struct(about.kind, value, path)
        if about.text is not None:
            return self._text(about, about.text, value, path)
        if about.is_list:
            return self._list(about, value, path)
        return self._scalar(about, value, path)

    def _list(self, about: _Field, value: object, path: Path) -> object:
        if not isinstance(value, list | tuple):
            self._draft.complain(path, value, "is not a list", about.hint)
            return _FAULTY
        if len(value) < (about.meta.min_length or 0):
            self._draft.complain_of_field(path, "is an empty list", about.hint)
            return _FAULTY
        entry = _field(get_args(about.kind)[0])
        decoded = [(i, self.value(entry, one, (*path, i))) for i, one in enumerate(value)]
        kept = [(i, one) for i, one in decoded if one is not _FAULTY]
        if len(kept) < len(value):
            self._draft.positions[path] = [i for i, _ in kept]
        return tuple(one for _, one in kept)

    def _text(self, about: _Field, text: Text, value: object, path: Path) -> object:
        if text.numbers and type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            self._draft.complain(path, value, "is not a text", about.hint)
            return _FAULTY
        result = text.read(value)
        if isinstance(result, Refusal):
            self._draft.complain(path, value, result.problem, result.remedy)
            return _FAULTY
        return result

    def _scalar(self, about: _Field, value: object, path: Path) -> object:
        try:
            result = msgspec.convert(value, about.kind, strict=True)
        except msgspec.ValidationError:
            is_quoted = about.kind is int and isinstance(value, str) and value.isdecimal()
            remedy = "write the number without quotes" if is_quoted else about.hint
            self._draft.complain(path, value, _mismatch(about.kind), remedy)
            return _FAULTY
        least, most = about.meta.ge, about.meta.le
        if (least is not None and result < least) or (most is not None and result > most):
            self._draft.complain(path, value, "is out of range", about.hint)
            return _FAULTY
        return result


def _mismatch(kind: object) -> str:
    if kind is int:
        return "is not a whole number"
    return "is neither true nor false" if kind is bool else "is not one of the possible words"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _letters(name: str) -> str:
    """What remains of a field's name for comparison: forwardFor, forward_for, forward-for."""
    return name[:60].lower().replace("_", "").replace("-", "")


def _closest(name: str, known: Iterable[str]) -> list[str]:
    """The known names that are as near as any, within a letter or so."""
    near = difflib.get_close_matches(name, [*known])
    ratios = [difflib.SequenceMatcher(None, one, name).ratio() for one in near]
    return [one for one, ratio in zip(near, ratios, strict=True) if ratio > ratios[0] - 0.1]


def _fields_wanted(kind: type[msgspec.Struct]) -> str:
    names = [info.encode_name for info in _fields(kind)]
    return f"write its fields as FIELD: VALUE, one a line ({_list(names)})"


def _stand_in(about: _Field) -> object:
    """Any value of the right shape; nobody looks at it, for its path is broken."""
    if about.is_struct:
        fields = _fields(about.kind)
        wanted = {info.name: _stand_in(_field(info.type)) for info in fields if info.required}
        return about.kind(**wanted)
    return () if about.is_list else None
