"""`virt-scheduler check --connect` and `--snapshot`: what would go wrong with hosts, VMs and rules, told before."""

import asyncio
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from .session import DONE, FAILED, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from ..cluster.rules import Rules
    from ..config import Config
    from ..daemon.doctor import Finding


def examine(config: "Config", *, as_json: bool) -> int:
    """Run all checks and print what was found; returns the exit code."""
    from ..daemon.app import look_over

    return _told(
        asyncio.run(look_over(config)),
        "What failed has to be mended before VMs can be migrated there.",
        as_json=as_json,
    )


def examine_snapshot(path: "Path", rules: "Rules | None", *, as_json: bool) -> int:
    """Hold `rules`, or those of the snapshot, against its VMs and hosts, and print what is wrong; the exit code."""
    from ..daemon.doctor import flaws
    from .offline import read_snapshot

    snapshot = read_snapshot(path)
    found = flaws(snapshot if rules is None else replace(snapshot, rules=rules))
    return _told(found, "What failed cannot be kept, whatever is moved.", as_json=as_json)


def _told(findings: "list[Finding]", when_failed: str, *, as_json: bool) -> int:
    failed = sum(finding.result == "failed" for finding in findings)
    if as_json:
        print_json({"healthy": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
        if failed:
            click.echo(when_failed)
    return FAILED if failed else DONE


def _show(findings: "list[Finding]") -> None:
    from .present import say, table

    table(
        ("CHECK", "HOST", "RESULT", "WHAT WAS SEEN"),
        [(finding.check, _where(finding), finding.result.value, finding.text) for finding in findings],
    )
    counts = Counter(finding.result.value for finding in findings)
    say("")
    say(", ".join(f"{count} {result}" for result, count in counts.items()))


def _where(finding: "Finding") -> str:
    return finding.host if finding.destination is None else f"{finding.host} -> {finding.destination}"
