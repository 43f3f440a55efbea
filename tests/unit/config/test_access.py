"""Who may use the API: what the config says, and what of it is refused."""

import pytest

from scheduler.config import ConfigError, parse
from scheduler.operations.access import Access, Role, hash_of_token

HASH = hash_of_token("secret")


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(text, "c.toml")
    return str(raised.value)


def test_roles_are_those_of_users_and_groups() -> None:
    text = '[api.roles]\nviewer = ["alice", "@staff"]\noperator = ["@ops", "bob"]\nadmin = ["alice"]\n'
    access = parse(text, "c.toml").api.to_access()
    assert access == Access(
        users={"alice": Role.ADMIN, "bob": Role.OPERATOR}, groups={"staff": Role.VIEWER, "ops": Role.OPERATOR}
    )
    assert access.role_of_user("bob", ["staff"]) is Role.OPERATOR
    assert access.role_of_user("carol", ["staff", "ops"]) is Role.OPERATOR
    assert access.role_of_user("ops", ["bob"]) is None


def test_without_roles_the_socket_decides_and_nothing_listens_beyond_this_machine() -> None:
    config = parse("", "c.toml")
    assert config.api.to_access().role_of_user("anybody", []) is Role.ADMIN
    assert config.api.tls.address is None
    assert config.api.socket_mode == "0660"
    assert config.metrics.address == ("127.0.0.1", 9177)


def test_a_token_is_known_by_its_hash() -> None:
    text = f'[[api.tokens]]\nname = "ci"\nrole = "operator"\nhash = "{HASH}"\n'
    access = parse(text, "c.toml").api.to_access()
    found = access.token("secret")
    assert found is not None
    assert (found.name, found.role) == ("ci", Role.OPERATOR)
    assert [access.token(wrong) for wrong in ("", "secrets", HASH, "\udc80", "sécret")] == [None] * 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[api]\nsocket_mode = "0666"', "c.toml: api: socket_mode lets everybody in and roles names nobody"),
        ('[api]\nsocket_mode = "777"', "c.toml: api.socket_mode: '777' is no mode"),
        ('[api.tls]\nlisten = "0.0.0.0:9178"', "c.toml: api: tls.listen lets nobody in"),
        ('[api.tls]\nlisten = ":9178"', "c.toml: api.tls.listen: ':9178' is no address"),
        ('[api.roles]\nadmin = ["@"]', "c.toml: api.roles.admin[0]: '@' is nobody"),
        ('[[api.certificates]]\nname = "a"\nrole = "root"', "c.toml: api.certificates[0].role: 'root' is not allowed"),
        (
            f'[[api.tokens]]\nname = "ci"\nrole = "admin"\nhash = "{HASH}"\n' * 2,
            "c.toml: api: tokens has the name 'ci' 2 times",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, told: str) -> None:
    assert refused(text).startswith(told)


def test_a_token_that_stands_in_the_place_of_its_hash_is_not_told() -> None:
    told = refused('[[api.tokens]]\nname = "ci"\nrole = "admin"\nhash = "top-secret"')
    assert "is no hash of a token" in told
    assert "top-secret" not in told
