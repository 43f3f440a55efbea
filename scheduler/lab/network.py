"""Namespaces, the switch between the hosts, and faults of a host's link.

Everything of a lab runs in network namespaces named after it. That makes namespace membership the one answer to
"whose process is this?": it survives the death of whoever started the lab and cannot be mistaken for a recycled id.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .command import run, wait_until
from .errors import LabError

PREFIX = "vslab"
_NAMESPACES = Path("/run/netns")
_LINK = "eth0"
_BRIDGE = "br0"
_SHAPER_BURST_KIB = 64


def switch_namespace(lab_id: str) -> str:
    """The namespace of the lab's switch, where its meter runs and pings start."""
    return f"{PREFIX}-{lab_id}-switch"


def host_namespace(lab_id: str, host: str) -> str:
    """The namespace of one host and its guests."""
    return f"{PREFIX}-{lab_id}-{host}"


def namespaces(lab_id: str) -> list[str]:
    """The lab's namespaces that exist now."""
    return sorted(path.name for path in _NAMESPACES.glob(f"{PREFIX}-{lab_id}-*"))


def inside(namespace: str, *command: str) -> list[str]:
    """`command` as it must be written to run inside `namespace`."""
    # Not `ip netns exec`: that mounts a fresh /sys, without control groups.
    return ["nsenter", f"--net={_NAMESPACES / namespace}", *command]


def create_switch(lab_id: str, address: str) -> None:
    """A namespace with the bridge that joins all hosts; `address` has a prefix length."""
    namespace = switch_namespace(lab_id)
    _create_namespace(namespace)
    _create_bridge(namespace, [address])


def attach_host(lab_id: str, host: str, addresses: list[str]) -> None:
    """A namespace for `host` whose bridge carries `addresses` and is wired to the switch."""
    namespace = host_namespace(lab_id, host)
    _create_namespace(namespace)
    # Both ends are born inside namespaces, so no name can clash with a link of the machine or of another lab.
    switch = switch_namespace(lab_id)
    peer = ["peer", "name", host, "netns", switch]
    run(["ip", "-n", namespace, "link", "add", "name", _LINK, "type", "veth", *peer])
    _create_bridge(namespace, addresses)
    run(["ip", "-n", namespace, "link", "set", _LINK, "master", _BRIDGE, "up"])
    run(["ip", "-n", switch, "link", "set", host, "master", _BRIDGE, "up"])


def set_link(lab_id: str, host: str, *, up: bool) -> None:
    """Plug or unplug the host's cable at the switch: the host's other end loses its carrier with it."""
    run(["ip", "-n", switch_namespace(lab_id), "link", "set", host, "up" if up else "down"])


def limit_link(lab_id: str, host: str, mbit_per_s: float | None) -> None:
    """Limit both directions of the host's link to `mbit_per_s`; None lifts the limit."""
    for namespace, link in ((switch_namespace(lab_id), host), (host_namespace(lab_id, host), _LINK)):
        if mbit_per_s is None:
            if "tbf" in run(["tc", "-n", namespace, "qdisc", "show", "dev", link]):
                run(["tc", "-n", namespace, "qdisc", "del", "dev", link, "root"])
            continue
        shaper = ["tbf", "rate", f"{mbit_per_s}mbit", "burst", f"{_SHAPER_BURST_KIB}kb", "latency", "100ms"]
        run(["tc", "-n", namespace, "qdisc", "replace", "dev", link, "root", *shaper])


def set_reachable(lab_id: str, host: str, address: str, *, reachable: bool) -> None:
    """Let `host` reach `address` or have every attempt refused at once; repeating it is harmless."""
    namespace = host_namespace(lab_id, host)
    if not reachable:
        run(["ip", "-n", namespace, "route", "replace", "unreachable", f"{address}/32"])
    elif run(["ip", "-n", namespace, "route", "show", "type", "unreachable", f"{address}/32"]):
        run(["ip", "-n", namespace, "route", "del", "unreachable", f"{address}/32"])


def processes(namespace: str) -> list[int]:
    """Ids of the living processes in `namespace`, in rising order; none when it does not exist."""
    try:
        wanted = (_NAMESPACES / namespace).stat()
    except FileNotFoundError:
        return []
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if _is_in(pid, wanted))


def remove(namespace: str) -> None:
    """End every process in `namespace` and delete it.

    Their death also frees the mounts, which live in the processes' own mount namespaces.
    """

    def emptied() -> bool:
        left = processes(namespace)
        for pid in left:
            _kill(pid)
        return not left

    wait_until(emptied, f"the processes of {namespace} end", timeout_seconds=20)
    try:
        run(["ip", "netns", "delete", namespace])
    except LabError:
        # Someone else who clears up leftovers may have been faster.
        if (_NAMESPACES / namespace).exists():
            raise


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _is_in(pid: int, namespace: os.stat_result) -> bool:
    try:
        of_process = Path(f"/proc/{pid}/ns/net").stat()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return (of_process.st_dev, of_process.st_ino) == (namespace.st_dev, namespace.st_ino)


def _create_namespace(name: str) -> None:
    if (_NAMESPACES / name).exists():
        raise LabError(f"network namespace {name} exists already")
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def _create_bridge(namespace: str, addresses: list[str]) -> None:
    # Without forward_delay 0 a port stays silent for 15 s, longer than a migration takes.
    run(["ip", "-n", namespace, "link", "add", "name", _BRIDGE, "type", "bridge", "forward_delay", "0"])
    for address in addresses:
        run(["ip", "-n", namespace, "address", "add", address, "dev", _BRIDGE])
    run(["ip", "-n", namespace, "link", "set", _BRIDGE, "up"])
