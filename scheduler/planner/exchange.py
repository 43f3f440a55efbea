"""Exchange: changes that make room, for where single moves are stuck.

One or two VMs leave the host that another, from a host that is short, then goes to. They go to third hosts; one alone
may also go back to where it came from in this plan, or to the very host that is short: a swap.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from ..filters import memory, registry
from ..filters.view import BoolArray, IntArray
from . import shortage
from .change import LEAST_GAIN, NONE, Change
from .load import Carried, FloatArray, Load

if TYPE_CHECKING:
    from .relief import Relief

_PAIRS: Final = 300_000
"""Exchanges that are looked at; of more, those of the VMs that relieve most."""
_PLACES: Final = 32
"""Hosts on which room is made, those with most to spare."""
_VERIFIED: Final = 8
"""Triples that are tried out, the best first, before it is said that there is none."""


def destinations(load: Load, vms: IntArray) -> BoolArray:
    """Hosts that may take each of `vms` and do not become contended by it, shape (vms, hosts)."""
    fits = registry.static_rows(load.view, vms) & registry.dynamic_rows(load.view, vms)
    fits &= load.high_with(vms) <= load.room
    fits &= ~load.closed(vms)
    fits[np.arange(len(vms)), load.view.vm_host[vms]] = False
    return fits


def pair(relief: "Relief") -> Change:
    """The best pair: `one` from a host that is short takes the place of `two`."""
    load, away = relief.load, relief.away
    twos = _near(relief)
    ones, value = _leavers(relief, len(twos))
    if not len(ones) or not len(twos):
        return NONE
    cost = relief.costs.core_seconds[twos]
    fits = _fits_in_place(load, ones, load.view.vm_host[twos], load.of(twos))
    fits &= away[twos] | relief.affords(twos, 1)
    onward = destinations(load, twos)
    back, loss = relief.returns(twos)
    elsewhere = relief.home[twos] != load.view.vm_host[ones][:, np.newaxis]
    column = value[:, np.newaxis]
    values = np.stack(
        [
            np.where(fits & onward.any(axis=1), column - np.where(away[twos], 0.0, cost), -np.inf),
            np.where(fits & back & elsewhere, column + cost - loss, -np.inf),
            np.where(fits, _swap_values(relief, ones, twos), -np.inf),
        ]
    )
    kind, row, place = np.unravel_index(int(np.argmax(values)), values.shape)
    if values[kind, row, place] <= LEAST_GAIN:
        return NONE
    one, two, host = int(ones[row]), int(twos[place]), load.view.vm_host
    to = (relief.emptiest(two, onward[place]), int(relief.home[two]), int(host[one]))[kind]
    return Change(((two, to), (one, int(host[two]))), float(values[kind, row, place]))


def triple(relief: "Relief") -> Change:
    """The best change in which two VMs of one host go to others and make room for one that is larger."""
    load, away = relief.load, relief.away
    twos = _near(relief)
    twos = twos[destinations(load, twos).any(axis=1) & relief.affords(twos, 1)]
    first, second = _couples(load.view.vm_host[twos])
    ones, value = _leavers(relief, len(first))
    if not len(ones) or not len(first):
        return NONE
    cost = np.where(away[twos], 0.0, relief.costs.core_seconds[twos])
    both = load.of(twos[first]).plus(load.of(twos[second]))
    fits = _fits_in_place(load, ones, load.view.vm_host[twos[first]], both)
    values = np.where(fits, value[:, np.newaxis] - cost[first] - cost[second], -np.inf).ravel()
    best = np.argpartition(-values, min(_VERIFIED, len(values) - 1))[:_VERIFIED]
    for flat in best[np.lexsort((best, -values[best]))]:
        row, couple = divmod(int(flat), len(first))
        places = values[flat] > LEAST_GAIN and _cleared(
            relief, int(ones[row]), (int(twos[first[couple]]), int(twos[second[couple]]))
        )
        if places:
            return Change(places, float(values[flat]))
    return NONE


def _near(relief: "Relief") -> IntArray:
    """VMs that could make room, on the hosts with most to spare."""
    load, twos = relief.load, relief.neighbours()
    if len(load.cpus) <= _PLACES:
        return twos
    chosen = np.zeros(len(load.cpus), dtype=bool)
    chosen[np.argsort(load.host_high - load.room, kind="stable")[:_PLACES]] = True
    return twos[chosen[load.view.vm_host[twos]]]


def _leavers(relief: "Relief", others: int) -> tuple[IntArray, FloatArray]:
    """The VMs worth most on another host, no more than leave few enough pairs with `others`."""
    vms, value = relief.leavers()
    left = relief.affords(vms)
    vms, value = vms[left], value[left]
    best = np.argsort(-value, kind="stable")[: max(1, _PAIRS // max(1, others))]
    return vms[best], value[best]


def _couples(places: IntArray) -> tuple[IntArray, IntArray]:
    """All couples of rows with the same place."""
    parts = [np.flatnonzero(places == place) for place in np.unique(places)]
    first = [rows[np.triu_indices(len(rows), 1)[0]] for rows in parts]
    second = [rows[np.triu_indices(len(rows), 1)[1]] for rows in parts]
    none = np.zeros(0, dtype=np.int64)
    return np.concatenate([none, *first]), np.concatenate([none, *second])


def _allowed(load: Load, vms: IntArray) -> BoolArray:
    """Hosts that every filter but memory allows, shape (vms, hosts); what makes room still counts there."""
    allowed = registry.static_rows(load.view, vms) & ~load.closed(vms)
    for rule in registry.DYNAMIC:
        if rule is not memory:
            allowed &= rule.rows(load.view, vms)
    return allowed


def _fits_in_place(load: Load, ones: IntArray, places: IntArray, gone: Carried) -> BoolArray:
    """Whether each of `ones` fits on each of `places` without what is `gone` there, shape (ones, places)."""
    after = load.on(places).minus(gone).plus(load.of(ones).column)
    fits: BoolArray = after.high <= load.room[places]
    fits &= after.memory_mib <= load.view.capacity_mib[places]
    fits &= _allowed(load, ones)[:, places] & (load.view.vm_host[ones][:, np.newaxis] != places)
    return fits


def _swap_values(relief: "Relief", ones: IntArray, twos: IntArray) -> FloatArray:
    """By how much the bill falls when two VMs change places, shape (ones, twos); -inf where they cannot."""
    load, hosts = relief.load, relief.load.view.vm_host[ones]
    now = load.on(hosts)
    after = now.minus(load.of(ones)).column.plus(load.of(twos))
    places = np.broadcast_to(hosts[:, np.newaxis], after.demand.shape)
    at_home = relief.home[twos] == places
    fits = (after.memory_mib <= load.view.capacity_mib[places]) & (after.demand < now.demand[:, np.newaxis])
    fits &= (after.high <= relief.limit[places]) & (_allowed(load, twos)[:, hosts].T | at_home)
    migrations = np.where(at_home, -1.0, np.where(relief.away[twos], 0.0, 1.0))
    lower = shortage.at(load, hosts, now)[:, np.newaxis] - shortage.at(load, places, after)
    cost = relief.costs.core_seconds[ones][:, np.newaxis] + migrations * relief.costs.core_seconds[twos]
    return np.where(fits, relief.worth(lower) - cost, -np.inf)


def _cleared(relief: "Relief", one: int, twos: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Where both of `twos` go so that `one` can take their place; empty when they cannot both go."""
    place, trial = int(relief.load.view.vm_host[twos[0]]), relief.twin()
    moved = list[tuple[int, int]]()
    for two in twos:
        fits = destinations(trial.load, np.array([two]))[0]
        if not fits.any():
            return ()
        moved.append((two, trial.emptiest(two, fits)))
        trial.load.move(*moved[-1])
    trial.load.move(one, place)
    return (*moved, (one, place)) if trial.covered() else ()
