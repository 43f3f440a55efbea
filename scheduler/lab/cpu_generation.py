"""Makes a host answer as one of an older CPU generation: an edit of what its libvirtd remembers of QEMU.

libvirtd keeps what it probed of QEMU in /var/cache/libvirt/qemu/capabilities and trusts that file while the times in
it match. Emulation itself enforces nothing: a guest that needs a missing feature would run all the same, so the
refusal comes from the check before a migration, as it should.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

from .errors import LabError
from .spec import UNMODIFIED_CPU

_CPU_MAP = Path("/usr/share/libvirt/cpu_map")
_PROBED_BINARIES = ("/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64")
CAPABILITIES = "qemu/capabilities"
"""Where libvirtd keeps them, below /var/cache/libvirt."""


def probe_key() -> str:
    """Names all that a probe of QEMU depends on: a kept probe is good while this stays the same."""
    facts = [platform.release(), platform.version(), Path("/proc/cpuinfo").read_text().partition("\n\n")[0]]
    facts += [f"{path} {Path(path).stat().st_ctime_ns}" for path in _PROBED_BINARIES]
    facts = [line for fact in facts for line in fact.splitlines() if "MHz" not in line]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def install(probed: Path, host_cache: Path, model: str) -> None:
    """Fill a stopped host's private cache from the folder of `probed` capabilities, as a host of CPU `model` has them.

    Raises:
        LabError: libvirt does not know `model`.
    """
    target = host_cache / CAPABILITIES
    target.mkdir(parents=True, exist_ok=True)
    for source in probed.glob("*.xml"):
        copy = Path(shutil.copy2(source, target))
        if model != UNMODIFIED_CPU:
            _age(copy, model)


def kept(host_cache: Path, model: str) -> bool:
    """Whether a serving libvirtd still has what `install` gave it, rather than having probed QEMU anew."""
    files = list((host_cache / CAPABILITIES).glob("*.xml"))
    return model == UNMODIFIED_CPU or any(_mark(model) in file.read_text() for file in files)


def _age(file: Path, model: str) -> None:
    tree = ET.parse(file)  # noqa: S314  written by this machine's own libvirtd
    lost = _all_model_features() - model_features(model)
    for prop in tree.iterfind("hostCPU[@type='tcg']/property[@type='boolean']"):
        if prop.get("name") in lost:
            prop.set("value", "false")
            prop.attrib.pop("migratable", None)
    for cpu in tree.iterfind("cpu[@type='tcg']"):
        blocked = model_features(cpu.get("name", ""), missing_ok=True) & lost
        blocked -= {blocker.get("name") for blocker in cpu.iterfind("blocker")}
        for feature in sorted(blocked):
            cpu.set("usable", "no")
            ET.SubElement(cpu, "blocker", name=feature)
    tree.getroot().append(ET.Comment(_mark(model)))
    tree.write(file)


def _mark(model: str) -> str:
    # libvirtd overlooks it, and it is gone once libvirtd has written the file itself.
    return f"as a host of CPU model {model}"


@cache
def model_features(model: str, *, missing_ok: bool = False) -> frozenset[str]:
    """The features that libvirt lists for a CPU `model`, by libvirt's names.

    Raises:
        LabError: libvirt does not know it, unless `missing_ok`.
    """
    file = _CPU_MAP / f"x86_{model}.xml"
    if not file.exists():
        if missing_ok:
            return frozenset()
        raise LabError(f"libvirt knows no CPU model {model!r}: see {_CPU_MAP}")
    tree = ET.parse(file)  # noqa: S314  installed with libvirt
    return frozenset(feature.get("name", "") for feature in tree.iterfind("model/feature"))


@cache
def _all_model_features() -> frozenset[str]:
    models = (file.stem.removeprefix("x86_") for file in _CPU_MAP.glob("x86_*.xml"))
    return frozenset().union(*(model_features(model) for model in models))
