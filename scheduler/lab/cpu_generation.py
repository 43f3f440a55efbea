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
_PROBED = ("/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/lib/x86_64-linux-gnu/qemu")
CAPABILITIES = "qemu/capabilities"
"""Where libvirtd keeps them, below /var/cache/libvirt."""


def probe_key() -> str:
    """Names all that a probe of QEMU depends on: a kept probe is good while this stays the same."""
    facts = [
        "without KVM",
        platform.release(),
        platform.version(),
        Path("/proc/cpuinfo").read_text().partition("\n\n")[0],
    ]
    facts += [f"{path} {Path(path).stat().st_ctime_ns}" for path in _PROBED if Path(path).exists()]
    facts = [line for fact in facts for line in fact.splitlines() if "MHz" not in line]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def install(probed: Path, host_cache: Path, model: str, cpu_map: Path = _CPU_MAP) -> None:
    """Fill a stopped host's private cache from the folder of `probed` capabilities, as a host of CPU `model` has them.

    Raises:
        LabError: libvirt, whose models are in `cpu_map`, does not know `model`.
    """
    features = _features_by_model(cpu_map)
    if model != UNMODIFIED_CPU and model not in features:
        raise LabError(f"libvirt knows no CPU model {model!r}: see {cpu_map}")
    target = host_cache / CAPABILITIES
    target.mkdir(parents=True, exist_ok=True)
    for source in probed.glob("*.xml"):
        copy = Path(shutil.copy2(source, target))
        if model != UNMODIFIED_CPU:
            _age(copy, model, features)


def kept(host_cache: Path, model: str) -> bool:
    """Whether a serving libvirtd still has what `install` gave it, rather than having probed QEMU anew."""
    files = list((host_cache / CAPABILITIES).glob("*.xml"))
    return model == UNMODIFIED_CPU or any(_mark(model) in file.read_text() for file in files)


def _age(file: Path, model: str, features: dict[str, frozenset[str]]) -> None:
    tree = ET.parse(file)  # noqa: S314  written by this machine's own libvirtd
    # What no model lists is common to all generations, or of no account to libvirt.
    lost = frozenset().union(*features.values()) - features[model]
    for prop in tree.iterfind("hostCPU[@type='tcg']/property[@type='boolean']"):
        if prop.get("name") in lost:
            prop.set("value", "false")
            prop.attrib.pop("migratable", None)
    for cpu in tree.iterfind("cpu[@type='tcg']"):
        blocked = features.get(cpu.get("name", ""), frozenset()) & lost
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
def _features_by_model(cpu_map: Path) -> dict[str, frozenset[str]]:
    features = {}
    for file in cpu_map.glob("x86_*.xml"):
        listed = ET.parse(file).iterfind("model/feature")  # noqa: S314  installed with libvirt
        features[file.stem.removeprefix("x86_")] = frozenset(feature.get("name", "") for feature in listed)
    return features
