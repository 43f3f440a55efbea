"""What the live commands share: which daemon is meant, how answers are shown, how failures end."""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import click

from .choice import Choice
from .client import Api, ApiError, Record

DONE, FAILED, BAD_INPUT, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""
P = ParamSpec("P")


@dataclass(frozen=True)
class Session:
    """One call of a live command."""

    choice: Choice
    as_json: bool

    @functools.cached_property
    def api(self) -> Api:
        """The daemon that is meant."""
        return Api(self.choice.endpoint())

    def show(self, answer: object, as_text: Callable[[], None]) -> None:
        """Print the answer as JSON when that was asked for, else by `as_text`."""
        if self.as_json:
            print_json(answer)
        else:
            as_text()

    def show_lines(self, answer: object, lines: Iterable[str]) -> None:
        """Print the answer as JSON when that was asked for, else these lines."""
        self.show(answer, lambda: click.echo("\n".join(lines)))


def print_json(answer: object) -> None:
    """For other tools: indented, one document."""
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def live(command: Callable[Concatenate[Session, P], int | None]) -> Callable[..., None]:
    """Make a function a live command: it gets a Session and `--json`, and returns the exit code (None: 0)."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for other tools.")
    @click.pass_obj
    @functools.wraps(command)
    def call(choice: Choice, /, *args: Any, as_json: bool, **options: Any) -> None:
        session = Session(choice, as_json)
        try:
            with unwatched("interrupted; what the daemon has begun goes on"):
                code = command(session, *args, **options)
        except ApiError as error:
            if as_json:
                print_json(error.as_dict())
            fail(error.text, error.reasons)
            code = error.exit_code
        sys.exit(code or DONE)

    return call


@contextmanager
def unwatched(what_goes_on: str) -> Iterator[None]:
    """Ctrl-C ends the command, not what the daemon does meanwhile; say so."""
    try:
        yield
    except KeyboardInterrupt:
        fail(what_goes_on)
        sys.exit(INTERRUPTED)


def fail(text: str, reasons: tuple[Record, ...] | list[Record] = ()) -> None:
    """Say on stderr, in one line, why something was not done; each reason that it leaves out on a line below it."""
    click.echo(f"virt-scheduler: {text}", err=True)
    for reason in reasons:
        if reason["text"] not in text:
            click.echo(f"  {reason['text']} ({reason['code']})", err=True)
