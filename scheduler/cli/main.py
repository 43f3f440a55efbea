"""The command `virt-scheduler`. A subcommand's module is imported when it is called, so that each starts fast."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from .. import __version__
from .choice import Choice
from .endpoint import ServerEndpoint, checked_url

SECTIONS: dict[str, dict[str, str]] = {
    "Daemon": {
        "run": "daemon:run",
        "check": "daemon:check",
        "status": "daemon:status",
        "reload": "daemon:reload",
        "token": "access:token",
    },
    "Cluster": {
        "hosts": "cluster:hosts",
        "vms": "cluster:vms",
        "explain": "cluster:explain",
        "matrix": "matrix:matrix",
        "snapshot": "cluster:snapshot",
        "cordon": "cluster:cordon",
        "uncordon": "cluster:uncordon",
        "drain": "migrate:drain",
    },
    "VMs": {
        "place": "place:place",
        "start": "place:start",
        "migrate": "migrate:migrate",
        "abort": "migrate:abort",
        "recommendations": "recommend:recommendations",
        "approve": "recommend:approve",
        "dismiss": "recommend:dismiss",
    },
    "What happened": {
        "history": "history:history",
        "decisions": "history:decisions",
        "events": "history:events",
        "requests": "access:requests",
        "report": "report:report",
    },
    "Without a daemon": {
        "plan": "offline:plan",
        "capacity": "offline:capacity",
        "apply": "offline:apply",
        "simulate": "simulate:simulate",
        "schema": "offline:schema",
        "lab": "lab:lab",
    },
}
"""Where each subcommand is defined: `module:name` in this package."""
_PLACES = {name: place for section in SECTIONS.values() for name, place in section.items()}
# Read by numpy when it is imported. Matrices are small here: threads for them cost more than the products.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class LazyGroup(click.Group):
    """A group whose commands are those of SECTIONS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the help."""
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command; None when there is none of that name."""
        if cmd_name not in _PLACES:
            return None
        module, _, name = _PLACES[cmd_name].partition(":")
        command = getattr(import_module(f".{module}", __package__), name)
        assert isinstance(command, click.Command)  # noqa: S101 - SECTIONS says so, a test holds it to that
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by topic."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(self._rows(ctx, list(names)))

    def _rows(self, ctx: click.Context, names: Sequence[str]) -> list[tuple[str, str]]:
        commands = [(name, self.get_command(ctx, name)) for name in names]
        return [(name, command.get_short_help_str(100)) for name, command in commands if command is not None]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="virt-scheduler")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="VIRT_SCHEDULER_CONFIG",
    help="The daemon's config.  [default: /etc/virt-scheduler/config.toml; env: VIRT_SCHEDULER_CONFIG]",
)
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    help="The socket of the daemon to speak to.  [default: the config's]",
)
@click.option(
    "--server",
    "url",
    envvar="VIRT_SCHEDULER_SERVER",
    help="https://HOST:PORT of a daemon elsewhere.  [env: VIRT_SCHEDULER_SERVER]",
)
@click.option(
    "--token-file",
    "token_path",
    type=click.Path(path_type=Path),
    envvar="VIRT_SCHEDULER_TOKEN_FILE",
    help="Holds the token for --server.  [env: VIRT_SCHEDULER_TOKEN_FILE]",
)
@click.option(
    "--ca",
    "ca_path",
    type=click.Path(path_type=Path),
    envvar="VIRT_SCHEDULER_CA",
    help="CA of the certificate of --server.  [default: those the system trusts; env: VIRT_SCHEDULER_CA]",
)
@click.option(
    "--certificate",
    "certificate_path",
    type=click.Path(path_type=Path),
    envvar="VIRT_SCHEDULER_CERTIFICATE",
    help="Client certificate and key for --server, one PEM file.  [env: VIRT_SCHEDULER_CERTIFICATE]",
)
@click.pass_context
def main(
    ctx: click.Context, /, config_path: Path | None, socket_path: Path | None, url: str | None, **files: Path | None
) -> None:
    """Place, live-migrate and rebalance VMs across libvirt hosts, and say why.

    Exit codes: 0 done, 1 failed, 2 bad input or no daemon, 3 refused (no host can take it).
    """
    server = None if url is None or socket_path is not None else ServerEndpoint(checked_url(url), **files)
    ctx.obj = Choice(config_path=config_path, socket_path=socket_path, server=server)
