"""Which VMs a selector means."""

import pytest

from scheduler.cluster.rules import selected_by_any, selects

UUID = "5f0e1a6c-1111-4222-8333-944455566677"


def means(selector: str, name: str) -> bool:
    return selects(selector, name=name, uuid=UUID, labels={"tier": "db"})


@pytest.mark.parametrize("selector", ["web1", "web*", "we[b]?", "*", UUID, UUID.upper(), "tag:tier", "tag:tier=db"])
def test_a_name_a_glob_a_uuid_and_a_label_mean_the_vm(selector: str) -> None:
    assert means(selector, "web1")


@pytest.mark.parametrize("selector", ["web", "WEB1", "db*", UUID[:8], "tag:rack", "tag:tier=", "tag:tier=web", "tier"])
def test_others_do_not(selector: str) -> None:
    assert not means(selector, "web1")


@pytest.mark.parametrize("name", ["web[1]", "web*", "[a-", "what?"])
def test_a_name_with_signs_of_a_glob_means_the_vm_of_that_name(name: str) -> None:
    assert means(name, name)


def test_one_of_several_is_enough() -> None:
    assert selected_by_any(["db*", "web*"], name="web1", uuid=UUID, labels={})
    assert not selected_by_any([], name="web1", uuid=UUID, labels={})
