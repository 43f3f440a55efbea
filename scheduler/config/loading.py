"""Reading the files, and telling every mistake in them: where, what is wrong, what is allowed."""

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .access import ApiSection
from .contradictions import contradictions
from .models import Config
from .section import key_of, shown, tables_of
from .sources import Location, Sources, UnreadableError, files_of

DEFAULT_PATH = Path("/etc/virt-scheduler/config.toml")


class ConfigError(Exception):
    """A config that cannot be used. `problems` has one line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(path: Path | None = None) -> Config:
    """Read a config file and `conf.d/*.toml` beside it; ConfigError tells every mistake.

    Without `path` it is the default one, which need not exist; without any file the defaults hold: this machine is
    scheduled.
    """
    sources, problems = _read(path)
    if problems:
        raise ConfigError(problems)
    return _config_of(sources)


def parse(text: str, source: str) -> Config:
    """The config of a TOML text; `source` names it in mistakes (ConfigError)."""
    sources = Sources()
    try:
        sources.add(source, text)
    except UnreadableError as error:
        raise ConfigError([str(error)]) from None
    return _config_of(sources)


def find_socket(path: Path | None = None) -> Path:
    """The API's socket that a config names, whatever else is wrong in it: a daemon goes on with the config before.

    ConfigError when there is no telling.
    """
    try:
        return load(path).api.socket
    except ConfigError:
        sources, _ = _read(path)
        with contextlib.suppress(ValueError):
            if sources.table:
                return ApiSection.model_validate(sources.table.get("api", {})).socket
        raise


def as_written(path: Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """The table that the files make together, whatever is wrong in it, and why some cannot be read, a line each."""
    sources, problems = _read(path)
    return sources.table, problems


def files_read(path: Path | None = None) -> list[Path]:
    """The files that `load` of the same path reads, in their order."""
    main = path or DEFAULT_PATH
    return [main] * (path is not None or main.exists()) + files_of(main)


def _read(path: Path | None) -> tuple[Sources, list[str]]:
    """All that can be read, joined, and what cannot be, a line each."""
    main, sources, problems = path or DEFAULT_PATH, Sources(), []
    try:
        files = files_read(path)
    except OSError as error:
        files, problems = [main], [f"{main.parent / 'conf.d'}: {error.strerror}"]
    for file in files:
        try:
            sources.add(str(file), file.read_text(encoding="utf-8"))
        except UnreadableError as error:
            problems.append(str(error))
        except FileNotFoundError:
            problems.append(f"{file}: there is no such file")
        except UnicodeDecodeError as error:
            problems.append(f"{file}: is not UTF-8 text (byte {error.start})")
        except (OSError, ValueError) as error:  # of a path with a null byte, too
            problems.append(f"{file}: {getattr(error, 'strerror', None) or error}")
    return sources, problems


def _config_of(sources: Sources) -> Config:
    try:
        config = Config.model_validate(sources.table, by_alias=True, by_name=False)
    except ValidationError as invalid:
        wrong = [error for error in invalid.errors() if not _follows(error)]
        told = [f"{sources.place(error['loc'])}: {_what_is_wrong(error)}" for error in wrong]
        raise ConfigError([*sources.problems, *told]) from None
    problems = [*sources.problems, *map(str, contradictions(config, sources.place))]
    if problems:
        raise ConfigError(problems)
    return config


def _follows(error: ErrorDetails) -> bool:
    """A list is also reported as too short when all that it holds is wrong."""
    return error["type"] == "too_short" and bool(error["input"])


def _what_is_wrong(error: ErrorDetails) -> str:
    written = shown(error["input"])
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


def _array_hint(location: Location) -> str:
    return f" of tables ([[{location[0]}]])" if len(location) == 1 else ""


def _nearest(word: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(key_of(word), allowed, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _keys_beside(location: Location) -> list[str]:
    """All keys of the table that the last part of `location` stands in."""
    table: type[BaseModel] = Config
    for part in location[:-1]:
        if isinstance(part, str):
            table, _ = tables_of(table)[part]
    return [key_of(name) for name in table.model_fields]
