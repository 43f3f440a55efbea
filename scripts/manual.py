"""Prints the manual page virt-scheduler(1), from the commands' own help."""

import inspect
import sys
from collections.abc import Iterator

import click

from scheduler import __version__
from scheduler.cli.main import SECTIONS, main

_FILES = {
    "/etc/virt-scheduler/config.toml": "The config. Without it this machine is scheduled, at qemu:///system.",
    "/run/virt-scheduler/api.sock": "What the commands speak to; for root and the group virt-scheduler.",
    "/var/lib/virt-scheduler": "The journal: what was decided and done, and what is under way.",
    "/usr/share/doc/virt-scheduler": "The documentation, and examples/example.toml with every key of the config.",
}


def page() -> Iterator[str]:
    """The page's lines, in the language of man(7)."""
    context = click.Context(main, info_name="virt-scheduler")
    yield f'.TH VIRT-SCHEDULER 1 "" "virt-scheduler {__version__}" "User Commands"'
    yield from (".SH NAME", r"virt\-scheduler \- scheduler of VMs across libvirt hosts")
    yield from (".SH SYNOPSIS", ".B virt\\-scheduler", "[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]")
    yield from (".SH DESCRIPTION", *_paragraphs(main.help))
    yield from (".SH OPTIONS", *_options(context))
    yield ".SH COMMANDS"
    for title, names in SECTIONS.items():
        yield f".SS {_escaped(title)}"
        for name in names:
            yield from _command(main, context, name)
    yield ".SH FILES"
    for path, text in _FILES.items():
        yield from (".TP", f".I {_escaped(path)}", _escaped(text))
    yield from (".SH SEE ALSO", ".BR virsh (1),", ".BR libvirtd (8),", ".BR systemctl (1)")


def _command(group: click.Group, parent: click.Context, name: str) -> Iterator[str]:
    if (command := group.get_command(parent, name)) is None:
        return
    context = click.Context(command, info_name=name, parent=parent)
    path = context.command_path.removeprefix("virt-scheduler ")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".TP", f"\\fB{_escaped(path)}\\fR {_escaped(usage)}")
    yield from _paragraphs(command.help)
    yield from (".RS", *_options(context), ".RE")
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(command, context, inner)


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            yield from (".TP", f"\\fB{_escaped(record[0])}\\fR", _escaped(record[1]))


def _paragraphs(text: str | None) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(text or "").replace("\b\n", "").split("\n\n")):
        if number:
            yield ".sp"
        yield _escaped(paragraph)


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in escaped.splitlines())


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in page())
