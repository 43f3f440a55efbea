"""The reference part of docs/configuration.md, made from the models; `python -m` of this module prints it."""

import json
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scheduler.config import Config
from scheduler.config.section import key_of


def tables(model: type[BaseModel] = Config, path: str = "") -> Iterator[tuple[str, bool, FieldInfo, type[BaseModel]]]:
    """Key path, whether it is an array of tables, field and model of every table below `model`."""
    for name, info in model.model_fields.items():
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield path + key_of(name), kind is not info.annotation, info, kind
                yield from tables(kind, f"{path}{key_of(name)}.")


def keys(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a table that is no table itself."""
    below = {path.partition(".")[0] for path, *_ in tables(model)}
    return ((key_of(name), info) for name, info in model.model_fields.items() if key_of(name) not in below)


def reference() -> str:
    """All tables of the file with their keys, defaults and meanings, as Markdown."""
    parts = [_rows(Config)]
    for path, many, info, model in tables():
        parts += [f"### `{f'[[{path}]]' if many else f'[{path}]'}`", _text(info), _rows(model)]
    return "\n\n".join(parts) + "\n"


def _rows(model: type[BaseModel]) -> str:
    defaults = model.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    rows = ["| Key | Default | Meaning |", "|---|---|---|"]
    for key, info in keys(model):
        default = "required" if info.is_required() else f"`{json.dumps(defaults[key])}`" if key in defaults else "none"
        rows.append(f"| `{key}` | {default} | {_text(info)} |")
    return "\n".join(row for row in rows)


def _text(info: FieldInfo) -> str:
    return " ".join((info.description or "").split())


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - that is what it is for
