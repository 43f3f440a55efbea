"""The exact optimum of relief with a number of moves: a mixed integer program for HiGHS.

The rules are the planner's: every filter, memory, and on hosts that take VMs the CPU limit at high demand; a contended
host takes one only in exchange for more. The order of moves is left out, so the figure is a bound on what can be done.

The high demand of a host is convex in what it holds: it is bounded by tangents, added where a solution oversteps.
"""

from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from scheduler.cluster.model import Snapshot
from scheduler.filters import registry
from scheduler.filters.view import View
from scheduler.planner import obstacle
from scheduler.planner.load import Load
from scheduler.planner.settings import PlannerSettings

MEMORY_WEIGHT = 10.0
TOLERANCE = 1e-6
ROUNDS = 20


@dataclass(frozen=True)
class Optimum:
    """Cores above what hosts can give plus ten times the GiB they are short of: the best found and a lower bound."""

    best: float
    bound: float


def optimum(snapshot: Snapshot, settings: PlannerSettings, moves: int, seconds: float = 60.0) -> Optimum:
    """The least shortage with that many moves."""
    load = Load(View(snapshot), settings)
    model = _model(load, moves, seconds)
    for _ in range(ROUNDS):
        model.solve()
        if not model.cut():
            break
    return Optimum(model.best, model.bound)


class _Model:
    def __init__(self, load: Load, seconds: float) -> None:
        self.load = load
        self.solver = highspy.Highs()
        self.solver.setOptionValue("output_flag", False)
        self.solver.setOptionValue("time_limit", seconds)
        self.solver.setOptionValue("mip_rel_gap", 1e-4)
        self.goes: dict[tuple[int, int], Any] = {}
        self.demand: dict[int, Any] = {}
        self.limits: dict[int, Any] = {}
        self.objective: Any = None

    def solve(self) -> None:
        self.solver.minimize(self.objective)
        self.best = self.solver.getInfo().objective_function_value
        self.bound = self.solver.getInfo().mip_dual_bound

    def cut(self) -> bool:
        """Add the tangent of each host whose high demand oversteps; whether there was one."""
        load, values = self.load, self.solver.getSolution().col_value
        added = False
        excess = np.sqrt(load.excess_squared)
        for host, limit in self.limits.items():
            here = [(vm, goes) for (vm, at), goes in self.goes.items() if at == host]
            held = np.array([excess[vm] * round(values[goes.index]) for vm, goes in here])
            norm = float(np.sqrt((held**2).sum()))
            high = _value(self.demand[host], values) + norm
            if norm == 0 or high <= _value(limit, values) + TOLERANCE:
                continue
            tangent = sum(float(held[at] / norm * excess[vm]) * goes for at, (vm, goes) in enumerate(here) if held[at])
            self.solver.addConstr(self.demand[host] + tangent <= limit)
            added = True
        return added


def _value(expression: Any, values: Any) -> float:
    names, factors = expression.unique_elements()
    return float(
        sum(factor * values[name] for name, factor in zip(names, factors, strict=True)) + (expression.constant or 0.0)
    )


def _model(load: Load, moves: int, seconds: float) -> _Model:
    model, view = _Model(load, seconds), load.view
    solver = model.solver
    every = np.arange(len(view.vms))
    open_to = registry.static_rows(view, every) & ~load.closed(every)
    for vm in map(int, np.flatnonzero(view.active)):
        home = int(view.vm_host[vm])
        movable = obstacle.to_balancing(load, vm) is None
        hosts = [host for host in range(len(view.hosts)) if host == home or (movable and open_to[vm, host])]
        for host in hosts:
            model.goes[vm, host] = solver.addBinary()
        solver.addConstr(sum(model.goes[vm, host] for host in hosts) == 1)
    away = [goes for (vm, host), goes in model.goes.items() if host != int(view.vm_host[vm])]
    solver.addConstr(sum(away) <= moves)
    terms = []
    high, start_short = load.host_high, load.memory_short_gib()
    for host in range(len(view.hosts)):
        here = {vm: goes for (vm, at), goes in model.goes.items() if at == host}
        arrivals = [goes for vm, goes in here.items() if int(view.vm_host[vm]) != host]
        base = float(load.other[host])
        model.demand[host] = base + sum(float(load.demand[vm]) * goes for vm, goes in here.items())
        memory = sum(float(view.memory_mib[vm]) / 1024 * goes for vm, goes in here.items())
        capacity = float(view.capacity_mib[host]) / 1024
        waits, short = solver.addVariable(lb=0), solver.addVariable(lb=0)
        solver.addConstr(waits >= model.demand[host] - float(load.given[host]))
        solver.addConstr(short >= memory - capacity)
        terms += [1.0 * waits, MEMORY_WEIGHT * short]
        takes = solver.addBinary()
        for goes in arrivals:
            solver.addConstr(goes <= takes)
        worst_gib = capacity + float(start_short[host])
        solver.addConstr(memory <= worst_gib - (worst_gib - capacity) * takes)
        least = max(float(load.room[host]), float(high[host]) if load.contended[host] else 0.0)
        most = max(least, float(high[host]))
        model.limits[host] = most - (most - least) * takes
        solver.addConstr(model.demand[host] <= model.limits[host])
        if load.contended[host]:
            solver.addConstr(model.demand[host] <= float(load.host_demand[host]))
        for group, rule in enumerate(view.anti_affinity):
            members = [goes for vm, goes in here.items() if group in view.groups[vm].anti_affinity]
            if rule.strength.value == "must" and members:
                solver.addConstr(sum(members) <= max(rule.max_per_host, int(view.anti_affinity_counts[group, host])))
    model.objective = sum(terms)
    return model
