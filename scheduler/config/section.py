"""What every table of the file has in common: its keys, and words that stand for VMs, hosts and places."""

import re
from pathlib import Path
from typing import Annotated, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

_SHOWN_LENGTH = 80
_UNIT = re.compile(r"_(seconds|ms|mib_per_s|mib|ratio)(?=_|$)")


def key_of(field: str) -> str:
    """The key in the file for a field: `reserved_memory_mib` is written `reserved_memory`."""
    return _UNIT.sub("", field)


def shown(value: object) -> str:
    """What was written, in a message: not longer than a line can bear."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."


def _uri(value: str) -> str:
    if not _can_be_uri(value):
        raise ValueError(f"{shown(value)} is no libvirt URI: write qemu:///system or qemu+tls://node1/system")
    return value


def _can_be_uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return value.isprintable() and bool(parts.scheme and (":///" in value or parts.hostname)) and parts.port != 0
    except ValueError:  # of brackets that do not match, or of the port
        return False


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError(f"{shown(value)} is no host name: letters, digits, '.', '_' and '-'")
    return value


def _selector(value: str) -> str:
    if not value or value == "tag:" or value.startswith("tag:="):
        raise ValueError(f"{value!r} selects nothing: write a name, a glob, a UUID, tag:KEY or tag:KEY=VALUE")
    return value


def _absolute(value: Path) -> Path:
    if not (value.is_absolute() and str(value).isprintable()):
        raise ValueError(f"{shown(str(value))} must be an absolute path")
    return value


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    if value and not (colon and host and is_port and value.isprintable()):
        raise ValueError(f'{shown(value)} is no address: write 127.0.0.1:9177, or "" for no listener')
    return value


def address_of(listen: str) -> tuple[str, int] | None:
    """Host and port of `ADDRESS:PORT`; None where it is empty."""
    host, _, port = listen.rpartition(":")
    return (host.strip("[]"), int(port)) if listen else None


Uri = Annotated[str, AfterValidator(_uri), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:"})]
OptionalUri = Annotated[str, AfterValidator(lambda value: value and _uri(value))]
HostName = Annotated[str, AfterValidator(_host_name), WithJsonSchema({"type": "string", "pattern": r"^[^\s/]+$"})]
Selector = Annotated[str, AfterValidator(_selector), WithJsonSchema({"type": "string", "minLength": 1})]
Selectors = Annotated[tuple[Selector, ...], Field(min_length=1)]
HostGlobs = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Listen = Annotated[str, AfterValidator(_listen)]


class Section(BaseModel):
    """A table of the file: immutable, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        frozen=True,
        alias_generator=key_of,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


def tables_of(table: type[BaseModel]) -> dict[str, tuple[type[BaseModel], bool]]:
    """The tables inside a table, by key: their model, and whether it is a list of them."""
    return {
        key_of(name): (kind, kind is not info.annotation)
        for name, info in table.model_fields.items()
        for kind in (info.annotation, *get_args(info.annotation))
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
