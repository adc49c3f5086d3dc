"""What kernel parameters were before the first change of ours, so that `vegd clean` can undo it.

Every other object bears a mark; a parameter has only its value. Before one is changed for the
first time, what it was and what it becomes is noted in ``parameters.json`` of the runtime
directory, which like the parameters themselves does not outlive a boot.
"""

import json
import logging
from pathlib import Path

from dataplane.model import DataplaneState, Sysctl
from dataplane.plan import Plan

log = logging.getLogger(__name__)

_NAME = "parameters.json"


class Originals:
    """The note of one runtime directory."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir / _NAME
        self._known: dict[str, list[str]] | None = None

    def note(self, observed: DataplaneState, plan: Plan) -> None:
        """Note what the plan is about to change. A note that cannot be written is logged."""
        known = self._read() if self._known is None else self._known
        values = {each.path: each.value for each in observed.sysctls}
        fresh = {
            op.object.path: [values[op.object.path], op.object.value]
            for op in plan.ops
            if isinstance(op.object, Sysctl)
            and op.object.path in values
            and op.object.path not in known
        }
        self._known = known | fresh
        if not fresh:
            return
        partial = self._path.with_suffix(".new")
        try:
            partial.write_text(json.dumps(self._known, indent=1) + "\n")
            partial.rename(self._path)
        except OSError as exc:
            log.warning(
                "%s: cannot be written (%s); 'vegd clean' will leave %s as they are",
                self._path,
                exc.strerror,
                ", ".join(fresh),
            )

    def to_restore(self, observed: DataplaneState) -> frozenset[Sysctl]:
        """The parameters that are still as we set them, with the values they had before."""
        values = {each.path: each.value for each in observed.sysctls}
        return frozenset(
            Sysctl(path, before)
            for path, (before, ours) in self._read().items()
            if values.get(path) == ours
        )

    def named(self) -> frozenset[Sysctl]:
        """Every parameter in the note, as we set it."""
        return frozenset(Sysctl(path, ours) for path, (_, ours) in self._read().items())

    def forget(self) -> None:
        """Remove the note."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, list[str]]:
        try:
            document = json.loads(self._path.read_text())
            return {
                str(path): [str(before), str(ours)] for path, (before, ours) in document.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as exc:
            log.warning("%s: cannot be read (%s); parameters stay as they are", self._path, exc)
            return {}
