"""Who may ask for what: the roles, and what a config gives them to. Pure: knows no socket and no HTTP."""

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256

TOKEN_SCHEME = "sha256:"  # noqa: S105 - no password, but how one is hashed
"""What a token's hash in the config begins with."""


class Role(Enum):
    """What a caller may do; each includes those before it."""

    VIEWER = "viewer"
    """Look at everything."""
    OPERATOR = "operator"
    """Start, migrate, drain, approve."""
    ADMIN = "admin"
    """Reload the config, and define VMs that reach into their host."""

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what needs `other`."""
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token, known by its hash only."""

    name: str
    role: Role
    hash: str
    """`sha256:` and 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who has which role. By default whoever can open the socket is an admin, and nobody else is let in."""

    users: Mapping[str, Role] = field(default_factory=dict)
    groups: Mapping[str, Role] = field(default_factory=dict)
    """Of callers at the socket, by name."""
    tokens: tuple[Token, ...] = ()
    certificates: Mapping[str, Role] = field(default_factory=dict)
    """By the common name of a client certificate."""

    def role_of_user(self, user: str, groups: Collection[str]) -> Role | None:
        """The highest role of a user and his groups; None: none. Where nobody is named the socket itself decides."""
        if not self.users and not self.groups:
            return Role.ADMIN
        found = [role for role in (self.users.get(user), *map(self.groups.get, groups)) if role is not None]
        return max(found, key=_RANK.__getitem__, default=None)

    def token(self, presented: str) -> Token | None:
        """The token that was presented; takes as long whichever it is, and whether it is one."""
        digest = hash_of_token(presented)
        found = None
        for token in self.tokens:
            if hmac.compare_digest(token.hash, digest):
                found = token
        return found


def hash_of_token(token: str) -> str:
    """As it stands in the config. A plain hash is enough: a token is 256 random bits, which nobody can try out."""
    return TOKEN_SCHEME + sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
