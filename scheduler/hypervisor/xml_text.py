"""Reading XML that others wrote: bounded, without entities, errors that name the place. Needs no libvirt."""

import re
from xml.etree import ElementTree as ET

from ..cluster.ports import DefinitionError

MAX_CHARACTERS = 1024 * 1024
MAX_DEPTH = 256
"""Elements within elements; libvirt's own parser takes no more."""
_ENCODING = re.compile(r"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([^"']*)""")

_KIB_PER_UNIT = {
    "b": 1 / 1024,
    "bytes": 1 / 1024,
    "KB": 1000 / 1024,
    "k": 1.0,
    "KiB": 1.0,
    "MB": 1000**2 / 1024,
    "M": 1024.0,
    "MiB": 1024.0,
    "GB": 1000**3 / 1024,
    "G": 1024.0**2,
    "GiB": 1024.0**2,
    "TB": 1000**4 / 1024,
    "T": 1024.0**3,
    "TiB": 1024.0**3,
}


def parse(xml: str, root_tag: str) -> ET.Element:
    """The root element, which must be `root_tag`; DefinitionError otherwise.

    Without a DOCTYPE there are no entities, neither external nor exploding ones; no libvirt XML has one.
    """
    if len(xml) > MAX_CHARACTERS:
        raise DefinitionError(f"the XML has {len(xml):,} characters, more than {MAX_CHARACTERS:,}")
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise DefinitionError("a DOCTYPE or entities are not allowed in a domain XML")
    declared = _ENCODING.match(xml.removeprefix("\ufeff"))
    if declared and declared[1].lower() != "utf-8":
        # Text is text here, but libvirt would decode it once more, and might read something else.
        raise DefinitionError(f"the XML must be UTF-8, not {declared[1]!r}")
    try:
        root = ET.fromstring(xml)  # noqa: S314 - no entities get this far
    except (ET.ParseError, ValueError) as error:
        raise DefinitionError(f"not well-formed XML: {error}") from None
    if root.tag != root_tag:
        raise DefinitionError(f"the root element is <{root.tag}>, not <{root_tag}>")
    if _is_deeper(root, MAX_DEPTH):
        raise DefinitionError(f"the XML is nested more than {MAX_DEPTH} deep")
    return root


def _is_deeper(root: ET.Element, depth: int) -> bool:
    level = [root]
    for _ in range(depth):
        level = [child for element in level for child in element]
    return bool(level)


def text_at(element: ET.Element, path: str) -> str | None:
    """The text of the first element at `path`, stripped; None when there is none or it is empty."""
    return (element.findtext(path) or "").strip() or None


def number_at(element: ET.Element, path: str) -> int | None:
    """The whole number at `path`, at least 1; None when the element is absent."""
    text = text_at(element, path)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= 1):
        raise DefinitionError(f"{element.tag}/{path}: {text!r} is not a whole number of at least 1")
    return int(text)


def memory_mib_at(element: ET.Element, path: str) -> int | None:
    """The amount of memory at `path` in MiB, rounded up; libvirt's unit when none is written is KiB."""
    amount = number_at(element, path)
    if amount is None:
        return None
    found = element.find(path)
    unit = "KiB" if found is None else found.get("unit", "KiB")
    factor = _KIB_PER_UNIT.get(unit)
    if factor is None:
        raise DefinitionError(f"{element.tag}/{path}: unknown unit {unit!r}, one of {', '.join(_KIB_PER_UNIT)}")
    return max(1, -int(-amount * factor // 1024))
