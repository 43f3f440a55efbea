"""`virt-scheduler check --connect`: tries the hosts and the ways between them, and says what would go wrong."""

import asyncio
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from .session import DONE, FAILED, print_json

if TYPE_CHECKING:
    from ..config import Config
    from ..daemon.doctor import Finding


def examine(config: "Config", *, as_json: bool) -> int:
    """Run all checks and print what was found; returns the exit code."""
    from ..daemon.app import look_over

    findings = asyncio.run(look_over(config))
    failed = sum(finding.result == "failed" for finding in findings)
    if as_json:
        print_json({"healthy": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings, failed)
    return FAILED if failed else DONE


def _show(findings: "list[Finding]", failed: int) -> None:
    from .present import say, table

    table(
        ("CHECK", "HOST", "RESULT", "WHAT WAS SEEN"),
        [(finding.check, _where(finding), finding.result.value, finding.text) for finding in findings],
    )
    counts = Counter(finding.result.value for finding in findings)
    say("")
    say(", ".join(f"{count} {result}" for result, count in counts.items()))
    if failed:
        say("What failed has to be mended before VMs can be migrated there.")


def _where(finding: "Finding") -> str:
    return finding.host if finding.destination is None else f"{finding.host} -> {finding.destination}"
