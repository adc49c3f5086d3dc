"""The walkthrough: a page whose commands are run, in one shell and in their order.

In ``console`` blocks a line that begins with ``$ `` is a command (lines that begin with ``> `` go
on with it), and what follows is what it prints. A ``yaml`` block whose first line is
``# NAME.yaml`` is a file that the commands find under that name. `play` runs a page and returns it
with what was printed this time; `differences` compares the substance of two plays of it, without
what is another each time: parts of names, hardware addresses, times, and who came first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from vegd.lab import janitor
from vegd.lab.cluster import assets
from vegd.lab.cluster.cluster import ClusterLab, ClusterOptions
from vegd.lab.cluster.scenes import SCENES
from vegd.lab.cluster.story import run_story
from vegd.lab.lab import remove
from vegd.lab.ovn_programs import INSTALLED, OvnPrograms

_FENCE = "```"
_PROMPT, _CONTINUED = "$ ", "> "
_FILE = re.compile(r"# ([\w.-]+\.yaml)")
_PATIENCE_S = 300.0
_PREFIX = "walkthrough"
_DRAWN = ("pod deleted", "upstream dead", "upstream back", "node gone", "node back")


@dataclass(frozen=True, slots=True)
class Step:
    """A command and what it prints."""

    command: tuple[str, ...]
    """Its lines, without the prompt."""
    printed: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """As they stand in the page."""
        first, *rest = self.command
        yield _PROMPT + first
        yield from (_CONTINUED + each for each in rest)
        yield from self.printed


@dataclass(slots=True)
class Console:
    """A block of steps."""

    steps: list[Step] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """As they stand in the page."""
        yield f"{_FENCE}console"
        for step in self.steps:
            yield from step.lines()
        yield _FENCE


@dataclass(frozen=True, slots=True)
class File:
    """A block that is a file."""

    name: str
    text: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """As they stand in the page."""
        yield f"{_FENCE}yaml"
        yield from self.text
        yield _FENCE


@dataclass(frozen=True, slots=True)
class Prose:
    """Everything between."""

    text: str

    def lines(self) -> Iterator[str]:
        """As it stands in the page."""
        yield self.text


Part = Console | File | Prose


def parse(page: str) -> list[Part]:
    """The parts of a page. Raises ValueError for a block of commands that begins with none."""
    parts: list[Part] = []
    lines = iter(page.splitlines())
    for line in lines:
        if not line.startswith(_FENCE):
            parts.append(Prose(line))
            continue
        block = tuple(_until_fence(lines))
        kind = line.removeprefix(_FENCE)
        name = _FILE.fullmatch(block[0]) if kind == "yaml" and block else None
        if kind == "console":
            parts.append(_console(block))
        elif name:
            parts.append(File(name[1], block))
        else:
            parts += map(Prose, (line, *block, _FENCE))
    return parts


def _until_fence(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == _FENCE:
            return
        yield line


def _console(block: tuple[str, ...]) -> Console:
    commands: list[tuple[list[str], list[str]]] = []
    for line in block:
        if line.startswith(_PROMPT):
            commands.append(([line.removeprefix(_PROMPT)], []))
        elif not commands:
            raise ValueError(f"{line!r} stands before the first command of its block")
        elif line.startswith(_CONTINUED) and not commands[-1][1]:
            commands[-1][0].append(line.removeprefix(_CONTINUED))
        else:
            commands[-1][1].append(line)
    return Console([Step(tuple(command), tuple(printed)) for command, printed in commands])


def unparse(parts: list[Part]) -> str:
    """The page of these parts."""
    return "".join(f"{line}\n" for part in parts for line in part.lines())


class Shell:
    """One bash for all commands, so that what one of them sets is there for the next."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "bash", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._mark = b"\x1eended "

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:  # closes its pipes
            pass

    def run(self, command: str) -> tuple[int, str]:
        """The exit status of a command, and what it printed. Raises TimeoutError."""
        assert self._process.stdin is not None
        # Its own input is empty: the shell reads the next commands from there.
        text = f"{{ {command}\n}} </dev/null\nprintf '\\036ended %d\\n' $?\n"
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()
        said = self._until_mark(command)
        printed, _, status = said.rpartition(self._mark)
        return int(status), printed.decode(errors="replace")

    def _until_mark(self, command: str) -> bytes:
        assert self._process.stdout is not None
        said, end = b"", time.monotonic() + _PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not re.search(self._mark + rb"\d+\n\Z", said):
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError(f"{command}: no end after {_PATIENCE_S:g} s; {said!r}")
                more = self._process.stdout.read1(65536)  # type: ignore[attr-defined]
                if not more:
                    raise TimeoutError(f"{command}: the shell has ended; {said!r}")
                said += more
        return said


def play(
    parts: list[Part],
    directory: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> list[Part]:
    """Run every command; the same parts with what was printed. Raises AssertionError at the first
    command that ends with another status than 0."""
    played: list[Part] = []
    with Shell(directory, environment) as shell:
        for part in parts:
            if isinstance(part, File):
                (directory / part.name).write_text("\n".join(part.text) + "\n")
            if isinstance(part, Console):
                played.append(Console([_play(shell, step, tell) for step in part.steps]))
            else:
                played.append(part)
    return played


def _play(shell: Shell, step: Step, tell: Callable[[str], None]) -> Step:
    command = "\n".join(step.command)
    tell(f"$ {command}")
    status, printed = shell.run(command)
    tell(printed)
    assert status == 0, f"{command}: exit status {status}\n{printed}"
    lines = (line.rstrip() for line in printed.splitlines())
    return Step(step.command, tuple(line for line in lines if not _ENDED_WATCH.match(line)))


_ENDED_WATCH = re.compile(r"E\d{4} [\d:.]+ +\d+ reflector\.go:\d+\] .*context canceled")
"""What `kubectl wait` logs when it has seen what it waits for and its watch has just begun."""


def _without_ports(found: re.Match[str]) -> str:
    return re.sub(r":\d+", ":PORT", found[0])


_CHANGING: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "MAC"),
    (re.compile(r"\bfe80::[0-9a-f:]+"), "LINK-LOCAL"),
    (re.compile(r"(?<=gateway\d)-[0-9a-z]{5,10}-[0-9a-z]{5}\b"), "-POD"),
    (re.compile(r"\b(?:\d+[dhms])+\b|\b\d+(?:\.\d+)? ?m?s\b"), "TIME"),
    (re.compile(r"@if\d+|^\d+(?=: \w)|\bqlen \d+"), "NUMBER"),
    (re.compile(r"\bnode\d\b"), "NODE"),
    # Processes, connections and changes of a session, as vegd counts them.
    (re.compile(r"(?<=^engine     process )\d+|(?<=^conntrack  )\d+|(?<= )\d+(?= +the peer)"), "N"),
    (re.compile(r"(?<=stalls )\d+"), "N"),
    # Ports drawn at random, and what a connection has carried.
    (re.compile(r"(?<=^tcp).*:\d+(?= +172\.17\.0\.1:80)"), _without_ports),
    (re.compile(r"(?<=policy-0)  \d+ +\d+$"), " BYTES"),
)


def substance(lines: tuple[str, ...]) -> Counter[str]:
    """The words of what was printed, each as often as it is there, without what is different in
    each run."""
    words: Counter[str] = Counter()
    for line in lines:
        text = line
        for pattern, name in _CHANGING:
            text = pattern.sub(name, text)
        words.update(re.split(r"[\s\[\],]+", text))
    del words[""]
    return words


def differences(page: list[Part], played: list[Part], but: Sequence[str] = ()) -> list[str]:
    """For each command whose substance is another one: the command, what is missing of the page,
    and what it printed now. Commands with one of the words `but` in them may differ."""
    found = []
    for ours, now in zip(_steps(page), _steps(played), strict=True):
        if any(word in ours.command[0] for word in but):
            continue
        before, after = substance(ours.printed), substance(now.printed)
        if before != after:
            missing, new = sorted((before - after).elements()), sorted((after - before).elements())
            command = "\n".join(ours.command)
            text = "\n".join(now.printed)
            found.append(f"$ {command}\nmissing: {missing}\nnew: {new}\nprinted now:\n{text}")
    return found


def _steps(parts: list[Part]) -> Iterator[Step]:
    for part in parts:
        if isinstance(part, Console):
            yield from part.steps


@contextlib.contextmanager
def cluster(prefix: str, programs: OvnPrograms = INSTALLED) -> Iterator[dict[str, str]]:
    """A cluster of the lab, and the environment in which the commands of a page find it."""
    remove(prefix)
    lab = ClusterLab(ClusterOptions(prefix, ovn=programs))
    with janitor.watch(prefix):
        lab.create()
        places = [Path(sys.executable).parent, assets.find("kubectl").parent]
        if programs.bin is not None:
            places.append(programs.bin)
        yield {
            **os.environ,
            "PATH": ":".join([*map(str, places), os.environ["PATH"]]),
            "KUBECONFIG": str(lab.kubeconfig),
            "OVN_NB_DB": lab.network.northbound,
            "COLUMNS": "120",
        }


def main() -> None:
    """Put into a page what its commands print now, and draw the picture beside it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.walkthrough", description=__doc__
    )
    parser.add_argument("page", type=Path)
    page: Path = parser.parse_args().page
    parts = parse(page.read_text())
    with cluster(_PREFIX) as environment, tempfile.TemporaryDirectory() as directory:
        played = play(parts, Path(directory), environment, print)
    page.write_text(unparse(played))
    # The picture at its end: what becomes of the probes when a gateway leaves, or dies.
    with tempfile.TemporaryDirectory() as directory:
        run_story(
            ClusterLab(ClusterOptions(_PREFIX)),
            Path(directory) / "report.json",
            page.with_name(f"{page.stem}-failover.svg"),
            scenes=[each for each in SCENES if each.name in _DRAWN],
        )


if __name__ == "__main__":
    main()
