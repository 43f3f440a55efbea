"""Counters become rates, and rates windows, without ever inventing load."""

import pytest

from scheduler.cluster.demand import DemandBook
from scheduler.cluster.model import VmState
from scheduler.cluster.observation import DomainFacts, DomainObservation, HostFacts, HostObservation

SECOND_NS = 1_000_000_000


def look(at_s, *, used_s=None, delay_s=None, host="a", domain_id=1, incoming=False, busy_s=None):
    """A look at one host with one domain `u` that has used and waited for so many seconds of CPU so far."""
    domain = DomainObservation(
        uuid="u",
        name="vm",
        state=VmState.RUNNING,
        persistent=True,
        facts=DomainFacts(vcpus=2, memory_mib=64),
        domain_id=domain_id,
        cpu_time_ns=None if used_s is None else int(used_s * SECOND_NS),
        vcpu_delay_ns=None if delay_s is None else int(delay_s * SECOND_NS),
        incoming=incoming,
    )
    return HostObservation(
        host=host,
        monotonic_s=at_s,
        facts=HostFacts(cpus=4, memory_mib=1024),
        domains=(domain,),
        cpu_busy_ns=None if busy_s is None else int(busy_s * SECOND_NS),
    )


def book_of(*looks):
    book = DemandBook(window_s=900)
    for one in looks:
        book.record(one)
    return book


def test_demand_is_used_plus_waited():
    book = book_of(look(0, used_s=0, delay_s=0), look(10, used_s=4, delay_s=6))
    assert book.demand_cores("u", now_s=10, recent_s=60) == pytest.approx(1.0)
    assert book.wait_ratio("u", "a", vcpus=2, now_s=10, recent_s=60) == pytest.approx(0.3)


def test_the_higher_of_the_latest_two_dirty_rates_holds_for_an_hour():
    book = book_of(look(0, used_s=0))
    assert book.dirty_mib_per_s("u", now_s=0) is None
    for at_s, rate in ((0, 90.0), (600, 40.0), (1200, 0.0)):
        book.record_dirtying("u", at_s, rate)
    assert book.dirty_mib_per_s("u", now_s=1200) == 40.0
    assert book.dirty_mib_per_s("u", now_s=4300) == 0.0
    assert book.dirty_mib_per_s("u", now_s=4801) is None
    book.record_dirtying("gone", 0, 1.0)
    assert book.dirty_mib_per_s("gone", now_s=0) is None


def test_one_look_is_no_rate():
    assert book_of(look(0, used_s=5, delay_s=0)).demand_cores("u", now_s=0, recent_s=60) is None


def test_missing_counters_make_no_rate_and_are_never_zero():
    book = book_of(look(0, used_s=0), look(10, used_s=None), look(20, used_s=8))
    assert book.demand_cores("u", now_s=20, recent_s=60) is None


def test_without_delay_the_wait_is_unknown_and_demand_is_what_was_used():
    book = book_of(look(0, used_s=0), look(10, used_s=5))
    assert book.demand_cores("u", now_s=10, recent_s=60) == pytest.approx(0.5)
    assert book.wait_ratio("u", "a", vcpus=2, now_s=10, recent_s=60) is None


def test_a_new_process_begins_anew():
    book = book_of(look(0, used_s=1000), look(10, used_s=1001), look(20, used_s=0.5, domain_id=2))
    assert book.demand_cores("u", now_s=20, recent_s=60) == pytest.approx(0.1)


def test_demand_is_remembered_across_a_migration_but_waiting_is_not():
    book = book_of(
        look(0, used_s=0, delay_s=0),
        look(10, used_s=5, delay_s=5),
        look(11, used_s=0, delay_s=0, host="b", domain_id=7),
    )
    assert book.demand_cores("u", now_s=12, recent_s=60) == pytest.approx(1.0)
    assert book.wait_ratio("u", "b", vcpus=2, now_s=12, recent_s=60) is None


def test_the_receiving_half_of_a_migration_is_not_a_vm():
    book = book_of(look(0, used_s=0, incoming=True), look(10, used_s=9, incoming=True))
    assert book.demand_cores("u", now_s=10, recent_s=60) is None


def test_looks_too_close_together_are_passed_over():
    book = book_of(look(0, used_s=0), look(0.1, used_s=0.1), look(10, used_s=2))
    assert book.demand_cores("u", now_s=10, recent_s=60) == pytest.approx(0.2)


def test_the_mean_is_weighted_by_time_and_only_recent():
    book = book_of(look(0, used_s=0), look(100, used_s=100), look(110, used_s=100), look(140, used_s=115))
    assert book.demand_cores("u", now_s=140, recent_s=60) == pytest.approx((20 * 1.0 + 10 * 0.0 + 30 * 0.5) / 60)
    assert book.demand_cores("u", now_s=140, recent_s=0) == pytest.approx(0.5)


def test_old_rates_say_nothing_of_now():
    book = book_of(look(0, used_s=0), look(10, used_s=10))
    assert book.demand_cores("u", now_s=200, recent_s=60) is None


def test_the_high_percentile_is_by_nearest_rank():
    book = DemandBook(window_s=900)
    used = 0.0
    for step in range(27):
        book.record(look(step * 10, used_s=used))
        used += 9 if step == 25 else 1
    assert book.demand_high_cores("u", now_s=260, percentile=0.95) == pytest.approx(0.1)
    assert book.demand_high_cores("u", now_s=260, percentile=1.0) == pytest.approx(0.9)


def test_what_a_guest_uses_while_it_boots_is_no_peak():
    book = book_of(look(0, used_s=0), look(50, used_s=50), look(100, used_s=52))
    assert book.demand_high_cores("u", now_s=100, percentile=1.0) == pytest.approx(0.04)


def test_a_vm_is_starting_for_a_minute_wherever_it_goes():
    book = book_of(look(0, used_s=0), look(50, used_s=1, host="b", domain_id=7))
    assert book.starting("u", now_s=59, recent_s=60)
    assert not book.starting("u", now_s=60, recent_s=60)
    assert not book.starting("u", now_s=10, recent_s=10)
    assert not book.starting("unknown", now_s=0, recent_s=60)


def test_a_migration_is_no_boot():
    book = book_of(
        look(0, used_s=0),
        look(50, used_s=10),
        look(90, used_s=14),
        look(91, used_s=0, host="b", domain_id=7),
        look(101, used_s=5, host="b", domain_id=7),
    )
    assert book.demand_high_cores("u", now_s=101, percentile=1.0) == pytest.approx(0.5)


def test_host_use_is_what_its_cpus_did():
    book = book_of(look(0, busy_s=100), look(10, busy_s=110))
    assert book.host_used_cores("a", now_s=10, recent_s=60) == pytest.approx(1.0)
    assert book.host_used_cores("b", now_s=10, recent_s=60) is None


def test_a_host_never_uses_more_than_its_cpus():
    book = book_of(look(0, busy_s=0), look(10, busy_s=400))
    assert book.host_used_cores("a", now_s=10, recent_s=60) == pytest.approx(4.0)


def test_vms_that_are_gone_are_forgotten():
    book = book_of(look(0, used_s=0), look(10, used_s=5))
    book.forget_all_but(set())
    assert book.demand_cores("u", now_s=10, recent_s=60) is None
