from scheduler.cluster.membership import Memberships, Register, memberships
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules, Strength, selects
from tests.unit.clusters import vm

VMS = [
    vm("web1", "a", labels={"tier": "gold"}),
    vm("web2", "a", uuid="11111111-AAAA-4000-8000-000000000001"),
    vm("db[1]", "b", labels={"tier": "iron", "team": ""}),
    vm("web1", "b", uuid="another-web1"),
]


def test_all_that_a_selector_means_is_what_it_means_one_by_one() -> None:
    selectors = ["web1", "web*", "*1*", "db[1]", "db[[]1]", "WEB1", "?eb2", "", "*", "[", "tag:tier", "tag:tier=gold"]
    selectors += ["tag:team=", "tag:none", "11111111-aaaa-4000-8000-000000000001", "UUID-web1"]
    register = Register(VMS)
    for selector in selectors:
        one_by_one = {
            index for index, one in enumerate(VMS) if selects(selector, name=one.name, uuid=one.uuid, labels=one.labels)
        }
        assert register.meant((selector,)) == one_by_one, selector


def test_each_vm_is_told_the_rules_that_speak_of_it() -> None:
    must, soft = Pin("web*", ("a",)), Pin("tag:tier", ("b",), Strength.SHOULD)
    rules = Rules(
        pins=(must, soft),
        anti_affinity=(AntiAffinity(("web2",)), AntiAffinity(("db*",), against=("*2", "db*"))),
        affinity=(Affinity(("web1", "db*")),),
    )
    assert memberships(rules, VMS) == (
        Memberships(pins=(must,), affinity=(0,), soft_pins=(soft,)),
        Memberships(pins=(must,), anti_affinity=(0, 1), against=(1,)),
        Memberships(anti_affinity=(1,), affinity=(0,), soft_pins=(soft,)),
        Memberships(pins=(must,), affinity=(0,)),
    )
    assert memberships(Rules(), VMS) == (Memberships(),) * 4
