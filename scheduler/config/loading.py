"""Reading the file, and telling every mistake in it: where, what is wrong, what is allowed."""

import contextlib
import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .contradictions import contradictions
from .models import Config
from .process import ApiSection
from .section import key_of

DEFAULT_PATH = Path("/etc/virt-scheduler/config.toml")


class ConfigError(Exception):
    """A config that cannot be used. `problems` has one line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(path: Path | None = None) -> Config:
    """Read a config file; ConfigError tells every mistake.

    Without `path` it is the default one, and when that does not exist the defaults hold: this machine is scheduled.
    """
    source = path or DEFAULT_PATH
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError([f"{source}: there is no such file"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{source}: is not UTF-8 text (byte {error.start})"]) from None
    except OSError as error:
        raise ConfigError([f"{source}: {error.strerror}"]) from None
    return parse(text, str(source))


def find_socket(path: Path | None = None) -> Path:
    """The API's socket that a config names, whatever else is wrong in it: a daemon goes on with the config before.

    ConfigError when there is no telling.
    """
    try:
        return load(path).api.socket
    except ConfigError:
        with contextlib.suppress(OSError, ValueError):
            data = tomllib.loads((path or DEFAULT_PATH).read_text(encoding="utf-8"))
            return ApiSection.model_validate(data.get("api", {})).socket
        raise


def parse(text: str, source: str) -> Config:
    """The config of a TOML text; `source` names it in mistakes (ConfigError)."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{source}: no valid TOML: {error}"]) from None
    try:
        config = Config.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as invalid:
        raise ConfigError([f"{source}: {_tell(error)}" for error in invalid.errors() if not _follows(error)]) from None
    if found := contradictions(config):
        raise ConfigError([f"{source}: {problem}" for problem in found])
    return config


def _follows(error: ErrorDetails) -> bool:
    """A list is also reported as too short when all that it holds is wrong."""
    return error["type"] == "too_short" and bool(error["input"])


def _tell(error: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).removeprefix(".")
    return f"{path}: {_what_is_wrong(error)}"


def _what_is_wrong(error: ErrorDetails) -> str:
    written = repr(error["input"])
    match error["type"]:
        case "extra_forbidden":
            key, allowed = str(error["loc"][-1]), _keys_beside(error["loc"])
            text = f"unknown key{_nearest(key, allowed)}; allowed: {', '.join(allowed)}"
        case "missing":
            text = "is missing"
        case "value_error":
            text = str(error["ctx"]["error"])
        case "enum":
            allowed = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            text = f"{written} is not allowed{_nearest(written, allowed)}; one of: {', '.join(allowed)}"
        case "model_type" | "dict_type":
            text = f"must be a table, not {written}"
        case "tuple_type":
            text = f"must be a list{_array_hint(error['loc'])}, not {written}"
        case "too_short":
            text = "must not be empty"
        case _:
            text = f"{error['msg'].replace('Input should be', 'must be')}, not {written}"
    return text


def _array_hint(loc: tuple[int | str, ...]) -> str:
    return f" of tables ([[{loc[0]}]])" if len(loc) == 1 else ""


def _nearest(word: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(key_of(word), allowed, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    """All keys of the table that the last part of `loc` stands in."""
    table: type[BaseModel] = Config
    for part in loc[:-1]:
        if isinstance(part, str):
            table = _table_of(table, part)
    return [key_of(name) for name in table.model_fields]


def _table_of(parent: type[BaseModel], key: str) -> type[BaseModel]:
    annotation = next(info.annotation for name, info in parent.model_fields.items() if key_of(name) == key)
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    raise TypeError(f"{key} is no table of {parent.__name__}")
