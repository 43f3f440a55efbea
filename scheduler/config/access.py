"""Who may use the API, from where, and what for."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ..operations.access import Access, Role, Token
from .section import AbsolutePath, Listen, Section, address_of, shown

_DIRECTORY = Path("/etc/virt-scheduler/tls")


def _principal(value: str) -> str:
    if not re.fullmatch(r"@?[^\s@]+", value):
        raise ValueError(f"{shown(value)} is nobody: write a user's name, or a group's with an @ before it")
    return value


def _token_hash(value: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise ValueError("is no hash of a token: `virt-scheduler token` makes a token and prints its hash")
    return value


def _socket_mode(value: str) -> str:
    if not re.fullmatch(r"06[0-7][0-7]", value):
        raise ValueError(f'{shown(value)} is no mode: write "0660", or "0666" to let roles alone decide')
    return value


Principals = tuple[Annotated[str, AfterValidator(_principal)], ...]


class RolesSection(Section):
    """Users and groups (`@group`) that may use the socket; root and the daemon's own user are always admins.

    When nobody is named, whoever can open the socket is an admin; else who is not named is refused.
    """

    viewer: Principals = ()
    """May look at everything."""
    operator: Principals = ()
    """May also start, migrate, drain and approve."""
    admin: Principals = ()
    """May also reload the config, and place VMs that reach into their host."""

    def of(self, *, groups: bool) -> dict[str, Role]:
        """The highest role of each group, or of each user."""
        return {
            name.removeprefix("@"): role
            for role, names in ((Role.VIEWER, self.viewer), (Role.OPERATOR, self.operator), (Role.ADMIN, self.admin))
            for name in names
            if name.startswith("@") is groups
        }


class TlsSection(Section):
    """The API for other machines: HTTPS, and nobody without a token or a certificate."""

    listen: Listen = ""
    """ADDRESS:PORT, or empty for none."""
    certificate: AbsolutePath = _DIRECTORY / "server.pem"
    """PEM file with the server's certificate and those between it and its CA; a new one is taken in by itself."""
    key: AbsolutePath = _DIRECTORY / "server.key"
    """PEM file with its key."""
    client_ca: AbsolutePath = _DIRECTORY / "client-ca.pem"
    """PEM file with the CA of client certificates, where there are any."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None: no listener."""
        return address_of(self.listen)


class TokenSection(Section):
    """A bearer token for the TLS listener; `virt-scheduler token` makes one."""

    name: Annotated[str, Field(min_length=1)]
    """Who uses it; stands in the journal as `token:NAME`."""
    role: Role
    """`viewer`, `operator` or `admin`."""
    hash: Annotated[str, AfterValidator(_token_hash)]
    """Of the token, which itself stands nowhere here."""


class CertificateSection(Section):
    """A client certificate for the TLS listener."""

    name: Annotated[str, Field(min_length=1)]
    """The common name of its subject; stands in the journal as `certificate:NAME`."""
    role: Role
    """`viewer`, `operator` or `admin`."""


class DefinitionsSection(Section):
    """What a new VM may use of its host without its definition needing the role `admin`."""

    directories: tuple[AbsolutePath, ...] = (Path("/var/lib/libvirt/images"),)
    """Files below these, and below `shared_directories`."""
    pools: tuple[Annotated[str, Field(min_length=1)], ...] = ("*",)
    """Volumes of these storage pools; names or globs."""


class ApiSection(Section):
    """The HTTP API that the commands use."""

    socket: AbsolutePath = Path("/run/virt-scheduler/api.sock")
    """Its unix socket."""
    socket_mode: Annotated[str, AfterValidator(_socket_mode)] = "0660"
    """Who can open it: its owner and group, or with `0666` everybody, which needs roles."""
    roles: RolesSection = RolesSection()
    """Who may do what through the socket; `@` stands before groups. Nobody named: all who can open it are admins."""
    tls: TlsSection = TlsSection()
    """The API for other machines: HTTPS, and nobody without a token or a certificate."""
    tokens: tuple[TokenSection, ...] = ()
    """Bearer tokens for the TLS listener; `virt-scheduler token` makes one."""
    certificates: tuple[CertificateSection, ...] = ()
    """Client certificates for the TLS listener."""
    definitions: DefinitionsSection = DefinitionsSection()
    """What a new VM may use of its host without its definition needing the role `admin`."""

    @model_validator(mode="after")
    def _meant(self) -> Self:
        access = self.to_access()
        if self.socket_mode[-1] != "0" and not (access.users or access.groups):
            raise ValueError("socket_mode lets everybody in and roles names nobody: everybody would be an admin")
        if self.tls.listen and not (self.tokens or self.certificates):
            raise ValueError("tls.listen lets nobody in: add [[api.tokens]] or [[api.certificates]]")
        for kind, entries in (("tokens", self.tokens), ("certificates", self.certificates)):
            for name, count in Counter(entry.name for entry in entries).items():
                if count > 1:
                    raise ValueError(f"{kind} has the name {name!r} {count} times")
        return self

    def to_access(self) -> Access:
        """Who has which role."""
        return Access(
            users=self.roles.of(groups=False),
            groups=self.roles.of(groups=True),
            tokens=tuple(Token(name=one.name, role=one.role, hash=one.hash) for one in self.tokens),
            certificates={one.name: one.role for one in self.certificates},
        )
