"""What is wrong with a configuration: where, what was found, why it cannot be, what to write.

A fault is a value. Reading, decoding and checking collect faults and go on, so that one run tells
everything; nobody wants to mend a file one message at a time. The sentence is put together here
and nowhere else, on one line whatever the input was.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from vegd.errors import VegdError

Path = tuple[str | int, ...]
"""Where a value stands: field names and list positions, for example ``("policies", 2, "name")``."""

_LONGEST_TEXT = 60
_PLAIN_FIELD = re.compile(r"[A-Za-z0-9_-]{1,60}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One complaint; also used for warnings, which read the same but do not fail.

    `path` is written as in ``policies[2].ipBlocks[0]`` and empty for the document as a whole;
    `value` is the value as shown to a human, empty where none was given.
    """

    path: str
    value: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        subject = f"{self.value} " if self.value else ""
        return f"{place}{subject}{self.problem}; {self.remedy}"

    def to_json(self) -> dict[str, str]:
        """The four parts, and the whole sentence as ``message``."""
        return {**asdict(self), "message": str(self)}


class SpecError(VegdError):
    """A configuration that cannot be used: every fault of it, and where it came from."""

    exit_status = 2

    def __init__(self, faults: Iterable[Fault], source: str = "") -> None:
        self.faults = tuple(faults)
        self.source = source
        super().__init__("\n".join(self.lines()))

    def lines(self) -> tuple[str, ...]:
        """One line per fault, each beginning with the source if there is one."""
        place = f"{self.source}: " if self.source else ""
        return tuple(f"{place}{fault}" for fault in self.faults)


def path_text(path: Path) -> str:
    """The path as it is printed; a key that is not a plain word is quoted in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not _PLAIN_FIELD.fullmatch(step):
            text += f"[{shown(step)}]"
        else:
            text += f".{step}" if text else step
    return text


def shown(value: object) -> str:
    """The value as a message shows it: short, on one line, in the words of YAML."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to print integers of thousands of digits.
        return str(value) if value.bit_length() < 200 else "a number of more than 60 digits"
    for kind, text in ((dict, "a mapping"), (list, "a list"), (tuple, "a list"), (float, None)):
        if isinstance(value, kind):
            return text or str(value)
    return "null" if value is None else f"a value of type {type(value).__name__}"
