"""JSON from ovsdb-server, read by the standard library.

The ovs library reads one character after the other in Python, unless it was built with its own C
code, as the wheels of PyPI are not. With 20,000 ports that takes seconds of every new connection.
Here only the end of a message is looked for before it is read.
"""

import json
import re
from typing import Any

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?P<end>"?)|[][{}]', re.DOTALL)
"""A text, which has no `end` if more of it is to come, or a bracket."""


class Parser:
    """One message of a stream; it takes the place of the library's, whose methods it has."""

    def __init__(self, check_trailer: bool = False) -> None:
        self._is_whole = check_trailer
        """Whether it is no message, but a text that ends with its value."""
        self._parts: list[str] = []
        self._begun = ""
        """The beginning of a text in quotes that was cut off."""
        self._depth = 0
        self._is_done = False

    def feed(self, text: str) -> int:
        """Take as much as belongs to the message; how many characters that are."""
        if self._is_whole:
            self._parts.append(text)
            return len(text)
        known, text, self._begun = len(self._begun), self._begun + text, ""
        if not self._depth and text.lstrip()[:1] not in ("", "{"):
            self._is_done = True  # `finish` says why
        end = self._end(text)
        self._parts.append(text[:end])
        return end - known if self._is_done else len(text) - known

    def _end(self, text: str) -> int:
        """Where the message ends in a text, or the part of it that has been understood."""
        for token in _TOKEN.finditer(text):
            sign = token[0]
            if sign in ("{", "["):
                self._depth += 1
            elif sign in ("}", "]"):
                self._depth -= 1
                if not self._depth:
                    self._is_done = True
                    return token.end()
            elif not token["end"]:
                self._begun = text[token.start() :]
                return token.start()
        return len(text)

    def is_done(self) -> bool:
        """Whether the message is there."""
        return self._is_done

    def finish(self) -> Any:
        """Its value; if there is none, a text that says why."""
        try:
            return json.loads("".join((*self._parts, self._begun)))
        except ValueError as exc:
            return str(exc)
