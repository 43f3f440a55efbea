"""The JSON Schema of the config, for editors: keys, what they mean, what is allowed, defaults as one writes them.

It is laxer than the daemon: what takes a look at the whole, or at more than a pattern can tell, only `check` finds.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .models import Config
from .section import key_of, tables_of

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum"}


def config_schema() -> dict[str, Any]:
    """The JSON Schema of the main file; files in conf.d hold to the same."""
    schema = Config.model_json_schema()
    _as_written(schema, Config)
    for model in _tables_below(Config):
        _as_written(schema["$defs"][model.__name__], model)
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "virt-scheduler"}


def _tables_below(table: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for inner, _ in tables_of(table).values():
        yield inner
        yield from _tables_below(inner)


def _as_written(described: dict[str, Any], table: type[BaseModel]) -> None:
    """Defaults with their units, bounds of what is written as a number, and no null: TOML has none."""
    defaults = table.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    for name, info in table.model_fields.items():
        key = key_of(name)
        one = described["properties"][key]
        one.pop("title", None)
        one.pop("default", None)
        if not info.is_required() and key in defaults:
            one["default"] = defaults[key]
        if "number" in one.get("type", ()):
            one.update(_bounds(info))
        if {"type": "null"} in one.get("anyOf", ()):
            (only,) = (kind for kind in one.pop("anyOf") if kind != {"type": "null"})
            one.update(only)


def _bounds(info: FieldInfo) -> dict[str, float]:
    written = ((name, getattr(bound, word, None)) for bound in info.metadata for word, name in _BOUNDS.items())
    return {name: value for name, value in written if value is not None}
