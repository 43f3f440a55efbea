"""`make soak`: a soak on a lab of its own, which goes with it, however it ends."""

from __future__ import annotations

import argparse
import json
import random
import sys

from scheduler.lab.lab import HOME, Lab
from scheduler.lab.owner import Owner
from scheduler.lab.spec import default_spec
from tests.soak.soak import Soak


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run it; exit code 1 when anything came to harm."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    _say(f"seed {seed}")
    owner = Owner.this_process()
    with Lab.create(HOME / f"soak-{owner.pid}", default_spec(3), owner=owner) as lab:
        soak = Soak(lab, asked.seconds, seed, _say)
        figures = soak.run()
        if soak.tally.harm:
            _say(soak.daemon_log)
    for line in soak.tally.harm:
        _say(line)
    _say(json.dumps(figures))
    return bool(soak.tally.harm)


if __name__ == "__main__":
    sys.exit(main())
