"""A Reason: why something is refused or done, for people (text), for tools (code) and with its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, init=False)
class Reason:
    """One refusal or motive.

    `code` is stable: it is the label of a metric and what tools compare. `text` is one clause for people, and
    `details` the numbers in it.
    """

    code: str
    text: str
    details: Mapping[str, object]
    remedy: str
    """The cheapest way to make it possible, as an order to a person; empty where there is none."""

    def __init__(self, code: str, text: str, /, *, remedy: str = "", **details: object) -> None:
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "remedy", remedy)
        object.__setattr__(self, "details", MappingProxyType(details))

    def as_dict(self) -> dict[str, str]:
        """The form tools get: `{"code", "text"}`."""
        return {"code": self.code, "text": self.text}

    def __str__(self) -> str:
        return f"{self.text} ({self.code})"
