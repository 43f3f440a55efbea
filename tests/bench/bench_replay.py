"""Replays of the traces by every policy, side by side: `make bench-replay`."""

import sys
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor

import structlog

from scheduler.config.models import Config
from scheduler.simulation import hbal
from scheduler.simulation.follower import Follower
from scheduler.simulation.loop import run
from scheduler.simulation.meter import Figures
from scheduler.simulation.own import OwnDaemon, config_for
from scheduler.simulation.policies import POLICIES
from scheduler.simulation.replay import replay
from scheduler.simulation.scene import Scene
from tests.bench.traces import NAMES, trace

OWN = "virt-scheduler"
COLUMNS = (
    "trace",
    "policy",
    "contention",
    "unserved",
    "migrations",
    "GiB",
    "back",
    "a VM and day",
    "relief s",
    "CPU s",
)


def one(name: str, policy: str, settings: str = "", seed: int = 1) -> tuple[Figures, float]:
    """A trace by one policy, and the CPU seconds that took. `settings` is TOML of our daemon's config."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    snapshot, table = trace(name, seed=seed)
    config = config_for(snapshot, Config.model_validate(tomllib.loads(settings)))
    steering = OwnDaemon(config) if policy == OWN else Follower(POLICIES[policy]())
    began = time.process_time()
    found = run(replay(Scene(snapshot, config.to_planner_settings(), seed=seed), table, steering)).figures
    return found, time.process_time() - began


def row(name: str, policy: str, settings: str = "", seed: int = 1) -> tuple[str, ...]:
    """A line of the table."""
    found, seconds = one(name, policy, settings, seed)
    relief = "" if found.relief_seconds_mean is None else f"{found.relief_seconds_mean:,.0f}"
    return (
        name,
        policy,
        f"{found.contention_vm_minutes:,.0f}",
        f"{found.unserved_core_minutes:,.0f}",
        f"{found.migrations}",
        f"{found.gib_moved:,.0f}",
        f"{found.reverse_moves}",
        f"{found.migrations_per_vm_day:.2f}",
        relief,
        f"{seconds:.1f}",
    )


def main(settings: str = "", policies: tuple[str, ...] = (), seed: int = 1) -> None:
    """Print a table in Markdown; `settings` is TOML that our daemon goes by."""
    others = [name for name in POLICIES if name != "hbal" or hbal.INSTALLED]
    wanted = [(name, policy) for name in NAMES for policy in (policies or (OWN, *others))]
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * 2}{'---:|' * (len(COLUMNS) - 2)}")
    with ProcessPoolExecutor(2) as processes:
        futures = [processes.submit(row, name, policy, settings, seed) for name, policy in wanted]
        for future in futures:
            print(f"| {' | '.join(future.result())} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", tuple(sys.argv[2:]))
