"""What must not leave the house: finds the secrets of a config, and leaves them out of any text they turn up in."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

LEFT_OUT: Final = "(left out)"

_SECRET_KEY: Final = re.compile(r"pass|secret|token|hash|credential|private", re.IGNORECASE)
_PASSWORD: Final = re.compile(r"(://[^\s/@:\"']*:)([^\s/\"']+)(?=@)")
_PARAMETER: Final = re.compile(r"([?&;][^=&;\s]*(?:pass|secret|token)[^=&;\s]*=)([^&;\s\"']+)", re.IGNORECASE)
_TOKEN: Final = re.compile(r"(\bBearer\s+)([\w.~+/=-]{8,})")
_HASH: Final = re.compile(r"(\bsha256:)([0-9a-fA-F]{64})")
_KEY: Final = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(?=-----END|\Z)", re.DOTALL)
_SHAPES: Final = (_PASSWORD, _PARAMETER, _TOKEN, _HASH, _KEY)
_TELLING: Final = 6
"""A shorter secret is left out where it stands in a URI or under its key only: as a text it may be part of any word."""


class Secrets:
    """Those of one config. `table` is what its files say, before anybody has judged it."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        found = {form for text in _secrets(table, secret=False) for form in _forms(text) if len(form) >= _TELLING}
        self._known = re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True))) or r"(?!)")

    def without(self, text: str) -> str:
        """`text` without them, and without all else that looks like a secret."""
        for shape in _SHAPES:
            text = shape.sub(lambda found: found[1] + LEFT_OUT, text)
        return self._known.sub(LEFT_OUT, text)

    def out_of(self, value: Any, *, secret: bool = False) -> Any:
        """A JSON value without them; `secret`: it stands under a key that says so."""
        match value:
            case str():
                return LEFT_OUT if secret else self.without(value)
            case Mapping():
                return {
                    self.without(key): self.out_of(inner, secret=bool(_SECRET_KEY.search(key)))
                    for key, inner in value.items()
                }
            case list() | tuple():
                return [self.out_of(inner, secret=secret) for inner in value]
            case _:
                return value


def _secrets(value: Any, *, secret: bool) -> Iterator[str]:
    match value:
        case str():
            yield from [value] if secret else [found[2] for shape in _SHAPES for found in shape.finditer(value)]
        case Mapping():
            for key, inner in value.items():
                yield from _secrets(inner, secret=bool(_SECRET_KEY.search(key)))
        case list() | tuple():
            for inner in value:
                yield from _secrets(inner, secret=secret)


def _forms(text: str) -> set[str]:
    """How a secret may be written: as it is, decoded from a URI, and either of them inside of JSON."""
    plain = {text, unquote(text)}
    return plain | {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in plain for ascii_only in (True, False)}
