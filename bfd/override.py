"""What an operator has laid over the configuration of one session.

The engine holds overrides beside the committed set: they win over it, and they stay when the agent
commits again, is restarted or leaves the session out for a while. An `Override` is a plain value;
`apply` makes the configuration that is in force.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from bfd.config import SessionConfig, check_byte, check_interval, check_type
from bfd.fsm import Diagnostic


@dataclass(frozen=True, slots=True)
class Override:
    """Values that replace those of the configuration; None leaves a value as it is.

    Times in microseconds, as in `SessionConfig`. Raises ValueError naming field, value and remedy.
    """

    desired_min_tx_us: int | None = None
    required_min_rx_us: int | None = None
    detect_mult: int | None = None
    min_ttl: int | None = None
    admin_down: bool = False
    """Hold the session in AdminDown with diagnostic 7 (RFC 5880 §6.8.16)."""

    def __post_init__(self) -> None:
        if self.desired_min_tx_us is not None:
            check_interval("desired_min_tx_us", self.desired_min_tx_us, zero=False)
        if self.required_min_rx_us is not None:
            check_interval("required_min_rx_us", self.required_min_rx_us, zero=True)
        if self.detect_mult is not None:
            check_byte("detect_mult", self.detect_mult)
        if self.min_ttl is not None:
            check_byte("min_ttl", self.min_ttl)
        check_type("admin_down", self.admin_down, bool, "true or false")

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self == Override()

    def values(self) -> dict[str, int]:
        """The replaced values by name, without `admin_down`."""
        return {name: value for name, value in self.to_json().items() if name != "admin_down"}

    def apply(self, config: SessionConfig) -> SessionConfig:
        """The configuration in force where `config` was committed."""
        values: dict[str, Any] = dict(self.values())
        if self.admin_down:
            values |= {"enabled": False, "disabled_diag": Diagnostic.ADMINISTRATIVELY_DOWN}
        return replace(config, **values)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object of what is set."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value
            for name, value in document.items()
            if value is not None and value is not False
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Override":
        """Read back what `to_json` made. Raises ValueError that names what is wrong."""
        unknown = sorted(set(document) - {each.name for each in fields(cls)})
        if unknown:
            raise ValueError(f"override: unknown field: {', '.join(unknown)}")
        return cls(**document)
