"""What every table of the file has in common: its keys, and words that stand for VMs, hosts and places."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_UNIT = re.compile(r"_(seconds|ms|mib_per_s|mib|ratio)(?=_|$)")


def key_of(field: str) -> str:
    """The key in the file for a field: `reserved_memory_mib` is written `reserved_memory`."""
    return _UNIT.sub("", field)


def _uri(value: str) -> str:
    if not urlsplit(value).scheme or (":///" not in value and not urlsplit(value).hostname):
        raise ValueError(f"{value!r} is no libvirt URI: write qemu:///system or qemu+tls://node1/system")
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError(f"{value!r} is no host name: letters, digits, '.', '_' and '-'")
    return value


def _selector(value: str) -> str:
    if not value or value == "tag:" or value.startswith("tag:="):
        raise ValueError(f"{value!r} selects nothing: write a name, a glob, a UUID, tag:KEY or tag:KEY=VALUE")
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError(f"'{value}' must be an absolute path")
    return value


Uri = Annotated[str, AfterValidator(_uri)]
OptionalUri = Annotated[str, AfterValidator(lambda value: value and _uri(value))]
HostName = Annotated[str, AfterValidator(_host_name)]
Selector = Annotated[str, AfterValidator(_selector)]
Selectors = Annotated[tuple[Selector, ...], Field(min_length=1)]
HostGlobs = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    """A table of the file: immutable, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=key_of,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )
