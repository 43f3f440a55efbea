"""Reads the objects of a snapshot that are surely right, without pydantic, whose import alone takes longer.

What is not surely right is Doubtful: pydantic then reads the same data, takes it or says what is wrong with it. So this
reader need not take all that is allowed, but what it takes must be what pydantic would have made of it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
_Read = Callable[[Any], Any]

_LARGEST: Final = 1e300
"""A number beyond it, or one that is none, is not surely right."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


class Doubtful(Exception):  # noqa: N818 - it may be no error
    """The data is not surely right."""


def parse(text: str | bytes) -> Any:
    """The JSON value of `text`; Doubtful when it is none, or one with half a character in it."""
    try:
        decoded = text if isinstance(text, str) else text.decode()
        if "\\ud" in decoded or "\\uD" in decoded:
            raise Doubtful
        return json.loads(decoded)
    except (ValueError, RecursionError):
        raise Doubtful from None


def read(kind: type[_T], data: Any) -> _T:
    """`data`, a JSON value, as a `kind`, one of the classes of a snapshot; Doubtful when it is not surely right."""
    return cast("_T", _reader(cast("Any", kind))(data))


@cache
def _reader(kind: Any) -> _Read:
    """What reads a value of that type."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, UnionType):
        return _or_none(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of({member.value: member for member in kind})
    if isinstance(kind, type) and is_dataclass(kind):
        return _object(kind)
    return _collection(get_origin(kind), get_args(kind))


def _of_type(kind: type) -> _Read:
    def word(value: Any) -> Any:
        if type(value) is not kind:
            raise Doubtful
        return value

    return word


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not -_LARGEST <= value <= _LARGEST:
        raise Doubtful
    return float(value)


def _time(value: Any) -> datetime:
    if type(value) is not str or not _TIME.fullmatch(value):
        raise Doubtful
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise Doubtful from None


_PLAIN: Final[Mapping[type, _Read]] = {
    **{kind: _of_type(kind) for kind in (bool, int, str)},
    float: _number,
    datetime: _time,
}


def _or_none(kind: UnionType) -> _Read:
    (inner,) = (_reader(one) for one in get_args(kind) if one is not NoneType)

    def optional(value: Any) -> Any:
        return None if value is None else inner(value)

    return optional


def _one_of(members: Mapping[str, Enum]) -> _Read:
    def member(value: Any) -> Enum:
        if type(value) is not str or value not in members:
            raise Doubtful
        return members[value]

    return member


def _object(kind: Callable[..., Any]) -> _Read:
    hints, known = get_type_hints(kind), fields(cast("Any", kind))
    readers = {field.name: _reader(hints[field.name]) for field in known}

    def instance(value: Any) -> Any:
        if type(value) is not dict:
            raise Doubtful
        try:
            return kind(**{name: readers[name](inner) for name, inner in value.items()})
        except (KeyError, TypeError):  # a field too many, or one that is missing
            raise Doubtful from None

    return instance


def _collection(origin: Any, of: tuple[Any, ...]) -> _Read:
    if origin is Mapping:
        inner = _reader(of[1])
        return lambda value: {key: inner(one) for key, one in _typed(value, dict).items()}
    inner = _reader(of[0])
    return lambda value: origin([inner(one) for one in _typed(value, list)])


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise Doubtful
    return value
