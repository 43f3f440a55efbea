"""`report`: what a bug report needs, in one file, with a daemon or without one, and not one secret in it."""

import asyncio
import json
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli.main import main
from scheduler.cli.redaction import Secrets
from scheduler.cluster.codec import load_snapshot
from scheduler.operations.journal import Journal
from scheduler.operations.records import Decision, RequestRecord
from tests.unit.web.memory import migration_record, small_cluster

from .conftest import Command

IN_URI = "hunter2%21secret"
HASH = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
BEARER = "vs_Zm9vYmFyYmF6cXV4"
SECRETS = [IN_URI, "hunter2!secret", HASH.removeprefix("sha256:"), BEARER, "MIIEvQIBADANBgkq", "typed_by_mistake"]
CONFIG = f"""
# root's password is {SECRETS[-1]}
state_directory = "STATE"
[[hosts]]
name = "node1"
uri = "qemu+ssh://root:{IN_URI}@node1/system"
[[hosts]]
name = "node2"
uri = "qemu+tls://node2/system?ca=x&ssh_password={IN_URI}"
[[api.tokens]]
name = "ci"
role = "operator"
hash = "{HASH}"
[api.tls]
listen = "127.0.0.1:9178"
key = "KEY"
"""
LOG = f"""2026-11-24T03:00:00+00:00 h virt-scheduler[1]: unable to connect to qemu+ssh://root:{IN_URI}@node1/system
2026-11-24T03:00:01+00:00 h virt-scheduler[1]: Authorization: Bearer {BEARER}
2026-11-24T03:00:02+00:00 h virt-scheduler[1]: the password hunter2!secret is wrong
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory whose daemon was killed: what is recent is in the -wal file."""
    directory = tmp_path / "state"
    directory.mkdir()
    asyncio.run(_write_journal(directory / "journal.sqlite"))
    return directory


async def _write_journal(path: Path) -> None:
    journal = await Journal.open(path)
    error = f"cannot open qemu+ssh://root:{IN_URI}@node1/system: hunter2!secret"
    await journal.add_migration(migration_record(error=error, cycle="c1"))
    asked = {"vms": ["web1"], "note": error}
    await journal.begin_request(RequestRecord(requested_by="al", role="admin", method="POST", path="/", asked=asked))
    snapshot = small_cluster()
    first, *rest = snapshot.hosts
    snapshot = replace(snapshot, hosts=(replace(first, libvirt_version="9.0.0", labels={"x": IN_URI}), *rest))
    for number in range(22):
        decision = Decision(cycle=f"c{number:02}", at=float(number), sentence="did it", kind="plan")
        await journal.add_decision(decision, snapshot)
    kept = {end: path.with_name(path.name + end).read_bytes() for end in ("", "-wal")}
    await journal.close()
    for end, content in kept.items():
        path.with_name(path.name + end).write_bytes(content)


@pytest.fixture
def config(tmp_path: Path, state: Path) -> Path:
    path, key = tmp_path / "config.toml", tmp_path / "server.key"
    path.write_text(CONFIG.replace("STATE", str(state)).replace("KEY", str(key)))
    key.write_text("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----\n")
    return path


def call(config: Path, output: Path, *options: str | Path, programs: Path) -> Result:
    environment = {"COLUMNS": "80", "PATH": str(programs), "VIRT_SCHEDULER_CONFIG": ""}
    arguments = ["--config", config, *options, "report", "--output", output]
    return CliRunner(env=environment).invoke(main, list(map(str, arguments)))


def unpacked(path: Path) -> dict[str, bytes]:
    """The files in it, by their name below the one directory that all are in."""
    with tarfile.open(path) as tar:
        found = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name.partition("/")[2]: file.read() for name, file in found.items() if file is not None}


def spilt(files: dict[str, bytes]) -> list[tuple[str, str]]:
    return [(name, secret) for name, content in files.items() for secret in SECRETS if secret.encode() in content]


def program(directory: Path, name: str, text: str) -> None:
    """Stand-in for one of the system: prints a text."""
    directory.mkdir(exist_ok=True)
    (directory / "text").write_text(text)
    path = directory / name
    path.write_text(f"#!/bin/sh\nwhile IFS= read -r line; do echo \"$line\"; done < '{directory / 'text'}'\n")
    path.chmod(0o700)


def test_of_a_dead_daemon_all_is_there_but_what_only_it_knows(config: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "journalctl", LOG)
    output = tmp_path / "report.tar.gz"
    shown = call(config, output, "--socket", tmp_path / "nobody.sock", programs=tmp_path / "bin")
    assert shown.exit_code == 0, shown.output
    files = unpacked(output)
    assert spilt(files) == []
    assert spilt({"shown": shown.output.encode()}) == []
    assert output.stat().st_mode & 0o777 == 0o600
    assert set(files) == {
        "README.txt", "config.json", "journal.sqlite", "log.txt", "versions.json",
        *(f"snapshots/c{number:02}.json" for number in range(2, 22)),
    }  # fmt: skip
    readme = files["README.txt"].decode()
    assert f"what the daemon sees (status, hosts, snapshot, events): no daemon at {tmp_path / 'nobody.sock'}" in readme
    assert readme in shown.stdout
    assert files["log.txt"].decode().splitlines()[2].endswith("the password (left out) is wrong")
    told = json.loads(files["config.json"])
    assert told["with_defaults"]["hosts"][0]["uri"] == "qemu+ssh://root:(left out)@node1/system"
    assert told["written"]["api"]["tokens"] == [{"name": "ci", "role": "operator", "hash": "(left out)"}]
    assert told["problems"] == []
    versions = json.loads(files["versions.json"])
    assert versions["hosts"]["node1"]["libvirt_version"] == "9.0.0"
    assert "aiohttp" in versions["python_packages"]
    snapshot = load_snapshot(files["snapshots/c21.json"], "kept")
    assert snapshot.host("node1").labels == {"x": "(left out)"}


def test_the_journal_in_it_is_whole_but_for_secrets(config: Path, tmp_path: Path, state: Path) -> None:
    before = {file.name: file.read_bytes() for file in state.iterdir()}
    output = tmp_path / "report.tar.gz"
    assert call(config, output, programs=tmp_path).exit_code == 0
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(unpacked(output)["journal.sqlite"])
    with closing(sqlite3.connect(copy)) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert journal.execute("SELECT count(*) FROM decisions").fetchone() == (22,)
        [error] = journal.execute("SELECT error FROM migrations").fetchone()
        [asked] = journal.execute("SELECT record ->> 'asked' FROM requests").fetchone()
    assert error == "cannot open qemu+ssh://root:(left out)@node1/system: (left out)"
    assert json.loads(asked)["note"] == error
    after = {file.name: file.read_bytes() for file in state.iterdir()}
    assert all(after[name] == content for name, content in before.items() if not name.endswith("-shm"))


def test_of_a_daemon_that_lives_its_own_picture_is_in_it(virt_scheduler: Command, config: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.tar.gz"
    assert call(config, output, "--socket", virt_scheduler.socket, programs=tmp_path).exit_code == 0
    files = unpacked(output)
    assert {"status.json", "hosts.json", "snapshot.json", "events.json"} <= set(files)
    assert load_snapshot(files["snapshot.json"], "now") == small_cluster()
    assert "journalctl: No such file or directory" in files["README.txt"].decode()


def test_what_is_broken_is_told_and_the_rest_is_there(config: Path, tmp_path: Path, state: Path) -> None:
    broken = config.read_text() + f'ssh_pass = "{SECRETS[-1]}"\n[balance]\nobjective = "{SECRETS[-1]}"\n'
    config.write_text(broken.replace(HASH, BEARER))
    for file in state.iterdir():
        file.unlink()
    (state / "journal.sqlite").write_bytes(b"no database" * 1000)
    output = tmp_path / "report.tar.gz"
    assert call(config, output, programs=tmp_path).exit_code == 0
    files = unpacked(output)
    assert spilt(files) == []
    told = json.loads(files["config.json"])
    assert "with_defaults" not in told
    assert len(told["problems"]) == 3
    readme = files["README.txt"].decode()
    assert f"the journal {state / 'journal.sqlite'}: file is not a database" in readme
    assert "the versions of libvirt and QEMU on the hosts: there is neither a daemon nor a snapshot" in readme
    config.write_text("= no TOML")
    again = tmp_path / "again.tar.gz"
    assert call(config, again, programs=tmp_path).exit_code == 0
    assert "a part of the config: " in unpacked(again)["README.txt"].decode()


def test_a_file_that_is_there_is_not_overwritten(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.tar.gz"
    output.write_text("mine")
    refused = call(config, output, programs=tmp_path)
    assert (refused.exit_code, refused.stderr) == (1, f"virt-scheduler: {output}: File exists\n")
    assert output.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("qemu+tls://node1:16514/system", "qemu+tls://node1:16514/system"),
        ("test://u:a@b/c p@q", "test://u:(left out)@b/c p@q"),
        ("x://h/?a=1&auth_token=abc&b=2", "x://h/?a=1&auth_token=(left out)&b=2"),
        ('{"uri": "x://u:p\\u00e4@h/"}', '{"uri": "x://u:(left out)@h/"}'),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END", "-----BEGIN RSA PRIVATE KEY-----(left out)-----END"),
        ("the passphrase", "the passphrase"),
        ('he said \\"swordfish\\u00e4\\"', 'he said \\"(left out)\\"'),
    ],
)
def test_secrets_are_known_by_their_shape_and_by_the_config(text: str, left: str) -> None:
    secrets = Secrets({"password": "swordfishä", "tokens": [{"name": "the"}], "short_secret": "he"})
    assert secrets.without(text) == left
