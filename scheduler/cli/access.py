"""Who may ask, and who has asked: tokens for the TLS listener, and the calls that changed something."""

import json
import os
import secrets
from pathlib import Path

import click

from ..operations.access import Role, hash_of_token
from .client import Record
from .session import Session, live

_BYTES = 32


@click.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), required=True, help="What may be done with it."
)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="New file for the token, which only you can read.",
)
def token(name: str, role: str, path: Path) -> None:
    """Make a token for the TLS listener: it goes into a file, its hash for the daemon's config is printed."""
    made = secrets.token_urlsafe(_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{made}\n")
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None
    click.echo("[[api.tokens]]")
    for key, value in (("name", name), ("role", role), ("hash", hash_of_token(made))):
        click.echo(f"{key} = {json.dumps(value, ensure_ascii=False)}")  # a JSON string is a TOML string


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@live
def requests(session: Session, *, limit: int) -> None:
    """List who asked for what: every call that changed something, and how it ended."""
    answer = session.api.get("/v1/requests", limit=limit)
    session.show(answer, lambda: _show(answer["requests"]))


def _show(found: list[Record]) -> None:
    from .present import moment, say, table

    if not found:
        say("nothing has been asked for yet")
        return
    table(
        ("WHEN", "WHO", "ROLE", "CALL", "ASKED", "OUTCOME"),
        [
            (
                moment(each["at"]),
                each["requested_by"],
                each["role"],
                f"{each['method']} {each['path']}",
                json.dumps(each["asked"], ensure_ascii=False) if each["asked"] else "",
                each["outcome"] or "under way, or broken off",
            )
            for each in found
        ],
    )
