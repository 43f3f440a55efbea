"""Reads a snapshot strictly with pydantic, and tells the first mistake with its JSON path; makes the JSON Schema."""

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Final, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails, from_json, to_json

from .model import Host, Snapshot, Vm
from .rules import Affinity, AntiAffinity, Pin, Priority, Rules
from .settings import PlannerSettings

_T = TypeVar("_T")

_READ_STRICTLY: Final = with_config(
    ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
)
_KINDS: Final = (Host, Vm, Pin, AntiAffinity, Affinity, Priority, Rules, PlannerSettings, Snapshot)
for _kind in _KINDS:
    _READ_STRICTLY(_kind)
# How a kind's fields are reached: the part of the JSON path that stands before the field's name.
_KIND_AT: Final[Mapping[str, type]] = {
    "hosts": Host,
    "vms": Vm,
    "pins": Pin,
    "anti_affinity": AntiAffinity,
    "affinity": Affinity,
    "priorities": Priority,
    "rules": Rules,
    "settings": PlannerSettings,
}
# Told first: a misspelt field is also a missing one, and its own name says more.
_MISSPELT: Final = frozenset({"unexpected_keyword_argument", "extra_forbidden"})


class Mistake(ValueError):  # noqa: N818 - of the person who wrote the file
    """What is wrong with the data, and its JSON path."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(path, text)
        self.path = path
        self.text = text


def parse(text: str | bytes) -> Any:
    """The JSON value of `text`; Mistake when it is none."""
    try:
        return from_json(text)
    except ValueError as error:
        raise Mistake("", f"not JSON: {error}") from None


def read(kind: type[_T], data: Any, path: str = "") -> _T:
    """`data`, a JSON value that stands at `path`, as a `kind`; Mistake with the first thing that is wrong."""
    # Through JSON once more: only there does strictness still take a list for a set and a text for a time.
    try:
        instance: _T = _adapter(cast("Any", kind)).validate_json(to_json(data, inf_nan_mode="constants"))
    except ValidationError as error:
        mistakes = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] not in _MISSPELT)
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise Mistake(_path(mistakes[0]["loc"], path), _wrong(mistakes[0], kind) + more) from None
    return instance


def schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a `kind`."""
    return _adapter(cast("Any", kind)).json_schema()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _path(location: tuple[int | str, ...], start: str = "") -> str:
    path = start
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _wrong(mistake: ErrorDetails, kind: type) -> str:
    names = [part for part in mistake["loc"][:-1] if isinstance(part, str)]
    owner = _KIND_AT.get(names[-1], kind) if names else kind
    match mistake["type"]:
        case kind_of_mistake if kind_of_mistake in _MISSPELT:
            return f"unknown field, allowed are {', '.join(field.name for field in fields(owner))}"
        case "missing":
            return "is missing"
        case _:
            shown = json.dumps(mistake["input"], default=str)
            shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
            return f"{mistake['msg'][0].lower()}{mistake['msg'][1:]}, not {shown}"
