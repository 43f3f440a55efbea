# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The inner loop of annealing, compiled: some million proposals a second on plain arrays.

A proposal changes where one or two VMs go and is kept when it lowers the score, or by chance when it raises it little.
Chance comes from the seed alone. Only the last placement counts: the order of moves is made afterwards. A proposal is
worked out on copies of the at most four hosts that it touches, so one that is not kept costs no way back.
"""

from libc.math cimport INFINITY, exp, pow, sqrt
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    # Columns of `takes` and of `hosts`: after the resources of the score come what a VM takes or a host still has of
    # cores, the squared excess of high demand (of a host below zero), memory; and what moving a VM costs in score.
    RESOURCES = 3
    CORES = 3
    EXCESS = 4
    MEMORY = 5
    LEFT = 6
    PRICE = 6
    TAKES = 7
    # Columns of `where`: the VM's host, where it started, its kind.
    HOST = 0
    HOME = 1
    KIND = 2
    WHERE = 3
    # Proposals between two steps of cooling.
    REST = 256
    # VMs of one proposal at most, and the hosts that it touches.
    MOVED = 3
    TOUCHED = 6

cdef double SLACK = 1e-9  # what rounding may make of a full host


cdef struct Search:
    Py_ssize_t hosts_number
    Py_ssize_t vms_number
    Py_ssize_t memberships
    Py_ssize_t most
    const int64_t* vms
    const double* takes
    const double* inverse
    const double* weights
    const uint8_t* allowed
    const int64_t* members
    const int64_t* limit
    int64_t* where
    double* hosts
    int64_t* counts
    int64_t* away            # the VMs that are not at home, in no order
    int64_t* place           # of each VM in `away`; -1: at home
    Py_ssize_t away_number
    double[2][RESOURCES] totals   # of used parts over hosts, and of their squares
    uint64_t seed


cdef struct Proposal:
    Py_ssize_t number        # of VMs that it moves
    int64_t[MOVED] vm
    int64_t[MOVED] to


cdef struct Trial:
    Py_ssize_t number        # of hosts that it touches
    int64_t[TOUCHED] host
    double[TOUCHED][LEFT] row
    double[2][RESOURCES] totals
    double price             # what it adds to the price of all moves


cdef inline uint64_t _draw(Search* search, uint64_t below) noexcept nogil:
    """A number from 0 to below - 1 (xorshift64*)."""
    search.seed ^= search.seed >> 12
    search.seed ^= search.seed << 25
    search.seed ^= search.seed >> 27
    return ((search.seed * <uint64_t>2685821657736338717ULL) >> 32) * below >> 32


cdef inline double _chance(Search* search) noexcept nogil:
    """A number from 0 to 1."""
    return (_draw(search, 1 << 30) + 1) / <double>(1 << 30)


cdef inline void _add(Proposal* proposal, int64_t vm, int64_t to) noexcept nogil:
    proposal.vm[proposal.number] = vm
    proposal.to[proposal.number] = to
    proposal.number += 1


cdef inline int64_t _host(Search* search, int64_t vm) noexcept nogil:
    return search.where[vm * WHERE + HOST]


cdef inline int64_t _home(Search* search, int64_t vm) noexcept nogil:
    return search.where[vm * WHERE + HOME]


cdef inline int64_t _any(Search* search) noexcept nogil:
    """A VM that may move."""
    return search.vms[_draw(search, search.vms_number)]


cdef inline Proposal _proposal(Search* search) noexcept nogil:
    """Up to three VMs and where they go; those that come home make up for others that leave it."""
    cdef Proposal proposal
    cdef uint64_t choice = _draw(search, 16)
    cdef int64_t one, other, third
    proposal.number = 0
    if search.away_number == 0 or (choice < 2 and search.away_number < search.most):
        _add(&proposal, _any(search), _draw(search, search.hosts_number))
        return proposal
    one = search.away[_draw(search, search.away_number)]
    if choice < 6:
        _add(&proposal, one, _draw(search, search.hosts_number))
    elif choice < 7:
        _add(&proposal, one, _home(search, one))
    elif choice < 12:
        other = _any(search)
        if search.place[other] < 0:
            _add(&proposal, other, _host(search, one) if choice < 9 else <int64_t>_draw(search, search.hosts_number))
            _add(&proposal, one, _home(search, one))
    else:
        if choice < 14:
            one = _any(search)
        other = _any(search)
        if other == one:
            return proposal
        _add(&proposal, other, _host(search, one))
        _add(&proposal, one, _host(search, other))
        if choice % 2 or _away_after(search, &proposal) > search.most:
            third = search.away[_draw(search, search.away_number)]
            if third != one and third != other:
                _add(&proposal, third, _home(search, third))
    return proposal


cdef inline Py_ssize_t _away_after(Search* search, Proposal* proposal) noexcept nogil:
    """How many VMs would be away from home."""
    cdef Py_ssize_t index, away = search.away_number
    for index in range(proposal.number):
        away += proposal.to[index] != _home(search, proposal.vm[index])
        away -= search.place[proposal.vm[index]] >= 0
    return away


cdef inline double* _touched(Search* search, Trial* trial, int64_t host) noexcept nogil:
    """The copy of that host's row."""
    cdef Py_ssize_t index
    for index in range(trial.number):
        if trial.host[index] == host:
            return trial.row[index]
    trial.host[trial.number] = host
    memcpy(trial.row[trial.number], search.hosts + host * LEFT, LEFT * sizeof(double))
    trial.number += 1
    return trial.row[trial.number - 1]


cdef inline bint _possible(Search* search, Proposal* proposal) noexcept nogil:
    """Whether it moves anything, to hosts that its VMs may go to."""
    cdef Py_ssize_t index
    cdef int64_t vm, to
    for index in range(proposal.number):
        vm, to = proposal.vm[index], proposal.to[index]
        if search.where[vm * WHERE + HOST] == to:
            return False
        if to != search.where[vm * WHERE + HOME]:
            if not search.allowed[search.where[vm * WHERE + KIND] * search.hosts_number + to]:
                return False
    return proposal.number > 0 and _away_after(search, proposal) <= search.most


cdef inline bint _tried(Search* search, Proposal* proposal, Trial* trial) noexcept nogil:
    """Work out hosts and totals after a possible proposal; False when memory or CPU do not suffice."""
    cdef Py_ssize_t index, column
    cdef int64_t vm, source, to, home
    cdef double less, more, amount
    cdef double* old
    cdef double* new
    cdef const double* takes
    trial.number, trial.price = 0, 0.0
    trial.totals = search.totals
    for index in range(proposal.number):
        vm, to = proposal.vm[index], proposal.to[index]
        source, home = search.where[vm * WHERE + HOST], search.where[vm * WHERE + HOME]
        takes = search.takes + vm * TAKES
        old, new = _touched(search, trial, source), _touched(search, trial, to)
        for column in range(RESOURCES):
            amount = takes[column]
            less = amount * search.inverse[source * RESOURCES + column]
            more = amount * search.inverse[to * RESOURCES + column]
            trial.totals[0][column] += more - less
            trial.totals[1][column] += less * (less - 2 * old[column]) + more * (more + 2 * new[column])
            old[column] -= less
            new[column] += more
        for column in range(RESOURCES, LEFT):
            old[column] += takes[column]
            new[column] -= takes[column]
        trial.price += takes[PRICE] * ((to != home) - (source != home))
    for index in range(proposal.number):
        vm, to = proposal.vm[index], proposal.to[index]
        new = _touched(search, trial, to)
        if new[MEMORY] < 0:
            return False
        if to != search.where[vm * WHERE + HOME]:
            if new[CORES] < -SLACK or new[CORES] * new[CORES] < -new[EXCESS] - SLACK:
                return False
    return True


cdef inline void _count(Search* search, int64_t vm, int64_t source, int64_t to) noexcept nogil:
    """Follow a move in the counts of the VM's groups."""
    cdef Py_ssize_t index
    cdef int64_t group
    for index in range(search.memberships):
        group = search.members[vm * search.memberships + index]
        if group >= 0:
            search.counts[group * search.hosts_number + source] -= 1
            search.counts[group * search.hosts_number + to] += 1


cdef inline bint _apart(Search* search, int64_t vm, int64_t host) noexcept nogil:
    """Whether no group of the VM is above its limit on `host`, with the VM there."""
    cdef Py_ssize_t index
    cdef int64_t group
    for index in range(search.memberships):
        group = search.members[vm * search.memberships + index]
        if group >= 0 and search.counts[group * search.hosts_number + host] > search.limit[group]:
            return False
    return True


cdef inline bint _counted(Search* search, Proposal* proposal) noexcept nogil:
    """Follow the proposal in the counts of groups; False, and nothing done, when one would be above its limit."""
    cdef Py_ssize_t index
    cdef bint apart = True
    if not search.memberships:
        return True
    for index in range(proposal.number):
        _count(search, proposal.vm[index], search.where[proposal.vm[index] * WHERE + HOST], proposal.to[index])
    for index in range(proposal.number):
        apart = apart and _apart(search, proposal.vm[index], proposal.to[index])
    if not apart:
        for index in range(proposal.number):
            _count(search, proposal.vm[index], proposal.to[index], search.where[proposal.vm[index] * WHERE + HOST])
    return apart


cdef inline double _score(Search* search, double[2][RESOURCES] totals) noexcept nogil:
    cdef Py_ssize_t column
    cdef double mean, variance, total = 0.0
    for column in range(RESOURCES):
        mean = totals[0][column] / search.hosts_number
        variance = totals[1][column] / search.hosts_number - mean * mean
        if variance > 0:
            total += search.weights[column] * sqrt(variance)
    return total


cdef inline void _follow(Search* search, int64_t vm) noexcept nogil:
    """Keep the list of VMs away from home."""
    cdef int64_t last, place = search.place[vm]
    cdef bint is_away = search.where[vm * WHERE + HOST] != search.where[vm * WHERE + HOME]
    if is_away and place < 0:
        search.away[search.away_number], search.place[vm] = vm, search.away_number
        search.away_number += 1
    elif not is_away and place >= 0:
        search.away_number -= 1
        last = search.away[search.away_number]
        search.away[place], search.place[last] = last, place
        search.place[vm] = -1


cdef inline void _keep(Search* search, Proposal* proposal, Trial* trial) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(trial.number):
        memcpy(search.hosts + trial.host[index] * LEFT, trial.row[index], LEFT * sizeof(double))
    search.totals = trial.totals
    for index in range(proposal.number):
        search.where[proposal.vm[index] * WHERE + HOST] = proposal.to[index]
        _follow(search, proposal.vm[index])


cdef double _begin(Search* search, Py_ssize_t vms_in_all) noexcept nogil:
    """Sum up the start; returns the price of the moves that led to it."""
    cdef Py_ssize_t index, column
    cdef int64_t vm
    cdef double used, paid = 0.0
    for index in range(search.hosts_number):
        for column in range(RESOURCES):
            used = search.hosts[index * LEFT + column]
            search.totals[0][column] += used
            search.totals[1][column] += used * used
    for index in range(vms_in_all):
        search.place[index] = -1
    for index in range(search.vms_number):
        vm = search.vms[index]
        _follow(search, vm)
        if search.place[vm] >= 0:
            paid += search.takes[vm * TAKES + PRICE]
    return paid


cdef void _run(Search* search, int64_t* best, Py_ssize_t proposals, double first, double last, double paid) noexcept nogil:
    """Propose, keep or drop, and note the best placement seen: the host of each VM that may move."""
    cdef Proposal proposal
    cdef Trial trial
    cdef Py_ssize_t step, index
    cdef double score, temperature = first, cooling = pow(last / first, <double>REST / max(REST, proposals))
    cdef double current = _score(search, search.totals) + paid, lowest = INFINITY
    for step in range(proposals + 1):
        if current < lowest - 1e-12:
            lowest = current
            for index in range(search.vms_number):
                best[index] = search.where[search.vms[index] * WHERE + HOST]
        if step % REST == REST - 1:
            temperature *= cooling
        proposal = _proposal(search)
        if not _possible(search, &proposal) or not _tried(search, &proposal, &trial):
            continue
        score = _score(search, trial.totals) + paid + trial.price
        if score > current and _chance(search) >= exp((current - score) / temperature):
            continue
        if _counted(search, &proposal):
            _keep(search, &proposal, &trial)
            current, paid = score, paid + trial.price


def anneal(
    const int64_t[::1] vms,
    const double[:, ::1] takes,
    const double[:, ::1] inverse,
    const double[::1] weights,
    const uint8_t[:, ::1] allowed,
    const int64_t[:, ::1] members,
    const int64_t[::1] limit,
    int64_t[:, ::1] where,
    double[:, ::1] hosts,
    int64_t[:, ::1] counts,
    *,
    Py_ssize_t most,
    Py_ssize_t proposals,
    tuple heat,
    uint64_t seed,
):
    """See kernel.pyi."""
    cdef Search search
    cdef double first = heat[0], last = heat[1], paid
    cdef Py_ssize_t index, vms_in_all = where.shape[0]
    cdef int64_t* memory
    if not vms.shape[0] or not hosts.shape[0]:
        return
    search.hosts_number, search.vms_number, search.most = hosts.shape[0], vms.shape[0], most
    search.memberships = members.shape[1]
    search.vms, search.takes, search.inverse = &vms[0], &takes[0, 0], &inverse[0, 0]
    search.weights, search.allowed = &weights[0], &allowed[0, 0]
    search.where, search.hosts = &where[0, 0], &hosts[0, 0]
    if search.memberships:
        search.members, search.limit, search.counts = &members[0, 0], &limit[0], &counts[0, 0]
    search.away_number, search.seed = 0, seed
    for index in range(RESOURCES):
        search.totals[0][index] = search.totals[1][index] = 0.0
    memory = <int64_t*>malloc((2 * vms_in_all + search.vms_number) * sizeof(int64_t))
    if memory == NULL:
        raise MemoryError
    search.away, search.place = memory, memory + vms_in_all
    with nogil:
        paid = _begin(&search, vms_in_all)
        _run(&search, memory + 2 * vms_in_all, proposals, first, last, paid)
    for index in range(search.vms_number):
        where[vms[index], HOST] = memory[2 * vms_in_all + index]
    free(memory)
