"""Durations, sizes and bandwidths as people write them: `2min`, `8GiB`, `100MiB/s`.

Each type parses the written form to a plain number in the unit that the field's name tells, and is written back in
the same form by `model_dump(mode="json")`.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from .section import shown

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MIB = 1024 * 1024
_BYTES = {
    "MiB": _MIB,
    "GiB": 1024 * _MIB,
    "TiB": 1024 * 1024 * _MIB,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")
UNLIMITED = "unlimited"
_LONGEST_SECONDS = 3650 * 86400.0
_LARGEST_MIB = 10**12
"""Beyond it a number is a slip of the finger, and times and sums of memory would overflow."""


def parse_duration(value: object) -> float:
    """Seconds of `90s`, `2min`, `1h30min` or a plain number of seconds, up to ten years; ValueError otherwise."""
    seconds = _seconds(value)
    if not seconds <= _LONGEST_SECONDS:  # nor is what TOML calls nan
        raise ValueError(f"{shown(value)} is no duration: allowed is up to {format_duration(_LONGEST_SECONDS)}")
    return seconds


def _seconds(value: object) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(min(value, 10**12))
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        parts = _QUANTITY.findall(value)
        written = re.sub(r"\s", "", value)
        if (
            parts
            and "".join(number + unit for number, unit in parts) == written
            and all(u in _SECONDS for _, u in parts)
        ):
            return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    raise ValueError(f"{shown(value)} is no duration: write 10s, 2min or 6h (units {', '.join(_SECONDS)})")


def format_duration(seconds: float) -> str:
    """The shortest exact form: 120 is `2min`, 0.3 is `300ms`."""
    for unit in ("d", "h", "min", "s"):
        count = seconds / _SECONDS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    if seconds == 0:
        return "0s"
    return f"{seconds:.3f}".rstrip("0") + "s" if seconds > 1 else f"{seconds * 1000:g}ms"


def _parse_downtime_ms(value: object) -> int:
    ms = round(parse_duration(value) * 1000)
    if not 1 <= ms <= 60_000:
        raise ValueError(f"{shown(value)} must be from 1ms to 1min (a number without unit is seconds)")
    return ms


def parse_size_mib(value: object) -> int:
    """Whole MiB of `2GiB` or `512MiB`, rounded down; ValueError otherwise."""
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in _BYTES:
        raise ValueError(f"{shown(value)} is no size: write 512MiB or 2GiB (units {', '.join(_BYTES)})")
    mib = float(found[1]) * _BYTES[found[2]] / _MIB
    if mib > _LARGEST_MIB:
        raise ValueError(f"{shown(value)} is no size: allowed is up to {format_size_mib(_LARGEST_MIB)}")
    return int(mib)


def format_size_mib(mib: int) -> str:
    """The shortest exact form: 2048 is `2GiB`."""
    for unit, factor in (("TiB", 1024 * 1024), ("GiB", 1024)):
        if mib and mib % factor == 0:
            return f"{mib // factor}{unit}"
    return f"{mib}MiB"


def _parse_bandwidth(value: object) -> int:
    if isinstance(value, str) and value.endswith("/s"):
        return parse_size_mib(value.removesuffix("/s"))
    raise ValueError(f"{shown(value)} is no bandwidth: write 100MiB/s or 1GiB/s")


def _limited(value: object) -> object:
    return None if value == UNLIMITED else value


def _written(value: object) -> object:
    return UNLIMITED if value is None else value


_NUMBER_OF = r"[0-9]+(\.[0-9]+)?\s*"
_IS_DURATION = rf"^\s*({_NUMBER_OF}({'|'.join(_SECONDS)})\s*)+$"
_IS_SIZE = rf"^\s*{_NUMBER_OF}({'|'.join(_BYTES)})\s*"
# What editors are told; the parsers above decide.
_AS_DURATION = WithJsonSchema({
    "type": ["string", "number"], "pattern": _IS_DURATION, "minimum": 0, "maximum": _LONGEST_SECONDS,
})  # fmt: skip
_AS_SIZE = WithJsonSchema({"type": "string", "pattern": f"{_IS_SIZE}$"})
_AS_BANDWIDTH = WithJsonSchema({"type": "string", "pattern": f"{_IS_SIZE}/s$"})
_AS_LIMIT = WithJsonSchema({"type": "string", "pattern": f"{_IS_SIZE}/s$|^{UNLIMITED}$"})

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    Field(ge=0),
    _AS_DURATION,
]
"""Seconds."""

DowntimeMs = Annotated[
    int,
    BeforeValidator(_parse_downtime_ms),
    PlainSerializer(lambda ms: format_duration(ms / 1000), return_type=str, when_used="json"),
    _AS_DURATION,
]
"""Milliseconds, up to a minute; a plain number is seconds, as everywhere."""

SizeMib = Annotated[
    int,
    BeforeValidator(parse_size_mib),
    PlainSerializer(format_size_mib, return_type=str, when_used="json"),
    _AS_SIZE,
]
"""MiB."""

Bandwidth = Annotated[
    int,
    BeforeValidator(_parse_bandwidth),
    PlainSerializer(lambda mib: f"{format_size_mib(int(mib))}/s", return_type=str, when_used="json"),
    Field(gt=0),
    _AS_BANDWIDTH,
]
"""MiB per second."""

Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Ratio = Annotated[float, Field(strict=True, ge=0, le=1)]
Weight = Annotated[float, Field(strict=True, ge=0)]

OptionalBandwidth = Annotated[
    Bandwidth | None,
    BeforeValidator(_limited),
    PlainSerializer(lambda mib: _written(mib and f"{format_size_mib(mib)}/s"), when_used="json"),
    _AS_LIMIT,
]
"""MiB per second; None is written `unlimited`."""

OptionalCount = Annotated[
    Count | None,
    BeforeValidator(_limited),
    PlainSerializer(_written, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1_000_000}, {"const": UNLIMITED}]}),
]
"""A count; None is written `unlimited`."""
