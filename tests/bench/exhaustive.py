"""The lowest score that any three moves can reach, all of them tried.

Room is not asked for, so no plan of three moves is below it. The squares of what hosts use after several moves are a
sum over pairs of moves, so a matrix of products of moves with each other holds all that is needed.
"""

import numpy as np

from scheduler.planner.evenness import Evenness


def lowest_after_three(even: Evenness, sources: np.ndarray) -> float:
    """The bound; `sources` is the host of each VM. Hosts are all judged."""
    hosts = even.used.shape[1]
    vm, to = (part.ravel() for part in np.indices((len(sources), hosts)))
    away = to != sources[vm]
    vm, to = vm[away], to[away]
    moves = np.arange(len(vm))
    centred = even.used - even.used.mean(axis=1, keepdims=True)
    alone, together = [], []
    for used, inverse, amount in zip(centred, even.inverse, even.amount, strict=True):
        change = np.zeros((len(vm), hosts))
        change[moves, to] = amount[vm] * inverse[to]
        change[moves, sources[vm]] -= amount[vm] * inverse[sources[vm]]
        alone.append((2 * change @ used + (change**2).sum(axis=1)) / hosts)
        together.append(2 * change @ change.T / hosts)
    together[0][vm[:, np.newaxis] == vm] = np.inf
    square = (centred**2).mean(axis=1)
    lowest = np.inf
    for one in range(len(vm) - 2):
        rest = slice(one + 1, None)
        score = np.zeros((len(vm) - one - 1,) * 2)
        for weight, start, single, pair in zip(even.weights, square, alone, together, strict=True):
            left = single[rest] + pair[one, rest]
            variance = start + single[one] + left[:, np.newaxis] + left + pair[rest, rest]
            score += weight * np.sqrt(np.maximum(0.0, variance))
        lowest = min(lowest, float(score.min()))
    return lowest
