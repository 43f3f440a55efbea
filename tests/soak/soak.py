"""The soak: guests that move all the time while everything goes wrong, and the proof that none came to harm."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.running_daemon import FINAL_STATES, Answer, RunningDaemon, definitions, running_on, until
from tests.soak import guests
from tests.soak.environment import StateDisk, WallClock
from tests.soak.faults import KINDS, Scene, Undo
from tests.soak.footprint import Footprint
from tests.soak.guests import Guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scheduler.lab.lab import Lab

HEAD = 'sample_interval = "1s"\nsweep_interval = "2s"\nevent_debounce = "100ms"\n'
TABLES = '[migration]\nbandwidth = "16MiB/s"\n[limits]\nmax_inbound = 2\n'
GUESTS = 4
MOST_MOVES = 3
"""At once."""
FAULT_SECONDS = (0.2, 1.0, 3.0, 6.0, 12.0)
LONG_FAULT_SECONDS = 45.0
"""Longer than the keepalive of libvirt between two hosts, which is 30 s; only in soaks that have the time."""
LONG_SOAK_SECONDS = 300.0
_UNDER_WAY_SECONDS = 15.0
_SETTLED_SECONDS = 240.0


@dataclass(slots=True)
class Tally:
    """What happened, and what came to harm; harm is told in lines for people."""

    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    rebooted: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def harm(self) -> list[str]:
        """All of it."""
        return [*self.lost, *self.duplicated, *self.rebooted, *self.mismatches, *self.leaks]


class Soak:
    """One soak on a lab that is up and empty. `say` takes its lines for people."""

    def __init__(self, lab: Lab, seconds: float, seed: int, say: Callable[[str], object]) -> None:
        self.tally = Tally()
        self._lab, self._seconds, self._seed, self._say = lab, seconds, seed, say
        self._rng = random.Random(seed)
        durations = FAULT_SECONDS if seconds < LONG_SOAK_SECONDS else (*FAULT_SECONDS, LONG_FAULT_SECONDS)
        self._durations = _shuffled_for_ever(durations, self._rng)
        self._kinds = _shuffled_for_ever(KINDS, self._rng)
        self._judged = 0
        """The newest migration whose end was compared with the hosts."""
        self._records: dict[int, Answer] = {}
        self._life: tuple[int, Footprint] | None = None
        self._growth = Footprint(0, 0, 0.0)

    def run(self) -> dict[str, Any]:
        """Soak, prove, and return the figures: the last line of `make soak`."""
        folder = self._lab.directory / "soak"
        folder.mkdir()
        hosts = list(self._lab.hosts)
        with closing(StateDisk(folder / "state")) as self._disk, ExitStack() as running:
            self._clock = WallClock(folder)
            within = (*self._disk.within, *self._clock.within)
            self._daemon = RunningDaemon(self._lab, HEAD, TABLES, state=folder / "state", within=within)
            running.callback(self._daemon.end)
            self._guests = [
                guests.begin(self._lab, f"soak{number}", hosts[number % len(hosts)]) for number in range(GUESTS)
            ]
            self._quiet()
            deadline = time.monotonic() + self._seconds
            while time.monotonic() < deadline and not self.tally.harm:
                self._round()
            self._prove()
        return self._figures()

    def _round(self) -> None:
        """Some migrations at once, one or two faults in the middle of them, and what came of it all."""
        moves = self._begin_moves()
        undo: list[Undo] = []
        told = []
        for _ in range(self._rng.choice((1, 1, 2))):
            guest, source, destination = self._rng.choice(moves)
            time.sleep(self._rng.uniform(0, 4))
            kind = next(self._kinds)
            scene = Scene(self._lab, self._daemon, self._disk, self._clock, self._rng, guest, source, destination)
            undo.append(kind(scene))
            self.tally.faults[kind.__name__] += 1
            told.append(f"{kind.__name__} ({guest.name} {source} -> {destination})")
        lasting_s = next(self._durations)
        time.sleep(lasting_s)
        for back in undo:
            back()
        records = self._quiet()
        ends = ", ".join(f"{record['vm']} {record['state']}" for record in records)
        self._say(f"{' + '.join(told)} for {lasting_s:g} s: {ends or 'no migration'}")

    def _begin_moves(self) -> list[tuple[Guest, str, str]]:
        """Ask for some migrations and wait until one is really under way, if any comes to be."""
        moves = []
        for guest in self._rng.sample(self._guests, self._rng.randint(1, MOST_MOVES)):
            destination = self._rng.choice([host for host in self._lab.hosts if host != guest.host])
            self._daemon.post("migrations", vms=[guest.name], to=destination)
            moves.append((guest, guest.host, destination))
        with suppress(AssertionError):
            until(lambda: any(map(self._daemon.migrating, (guest.name for guest, *_ in moves))), "", seconds=3)
        return moves

    def _quiet(self) -> list[Answer]:
        """Wait until nothing is under way, compare the journal with the hosts; returns what has ended since."""
        until(self._all_hosts_up, "all hosts are up again", seconds=_SETTLED_SECONDS)
        until(self._nothing_under_way, "every migration has ended", seconds=_SETTLED_SECONDS)
        ended = [record for number, record in sorted(self._records.items()) if number > self._judged]
        self._judged = max(self._records, default=0)
        for guest in self._guests:
            self._judge(guest, [record for record in ended if record["vm"] == guest.name])
        if not self.tally.harm:
            for guest in self._guests:
                guests.settle(self._lab, guest)
                until(lambda guest=guest: self._daemon.sees(guest.name, "running", guest.host), f"sees {guest.name}")
            self._weigh()
        return ended

    @property
    def daemon_log(self) -> str:
        """What the daemon has logged; to be read before the lab is taken down."""
        return self._daemon.log.read_text(errors="replace")

    def _all_hosts_up(self) -> bool:
        return all(host["state"] == "up" for host in self._daemon.get("hosts")["hosts"])

    def _nothing_under_way(self) -> bool:
        newest = self._daemon.get("migrations?limit=1000")["migrations"]
        self._records |= {record["id"]: record for record in newest}
        return all(record["state"] in FINAL_STATES for record in newest)

    def _judge(self, guest: Guest, ended: list[Answer]) -> None:
        """Where it is, against where the journal says that it went."""
        for record in ended:
            if record["state"] == "completed":
                guest.host = record["destination"]
        tally, lab, name = self.tally, self._lab, guest.name
        story = f"{name}: " + "; ".join(
            f"{record['source']} -> {record['destination']} {record['state']} ({record['error']})" for record in ended
        )
        running, defined = running_on(lab, name), definitions(lab, name)
        kept = sorted(guests.processes(lab, guest))
        if len(running) > 1 or len(kept) > 1:
            tally.duplicated.append(f"{story}: runs on {running}, QEMU on {kept}")
        elif defined != [guest.host]:
            tally.mismatches.append(f"{story}: defined on {defined}, expected on {guest.host}")
        elif not running and not guest.ended:
            tally.lost.append(f"{story}: runs nowhere")
        elif running and guest.boot_id and not (guest.ended or guest.rebooted):
            self._judge_boot(guest, story)
        tally.mismatches += [f"{story}: unverified" for record in ended if record["state"] == "unknown"]

    def _judge_boot(self, guest: Guest, story: str) -> None:
        try:
            now = until(lambda: guests.boot_id(self._lab, guest), "it answers", seconds=30)
        except AssertionError:
            self.tally.lost.append(f"{story}: does not answer")
            return
        if now != guest.boot_id:
            console = guests.console(self._lab, guest, guest.host)
            self.tally.rebooted.append(f"{story}: boot {now} instead of {guest.boot_id}\n{console}")

    def _weigh(self) -> None:
        """Note how much the daemon has grown since its life's first quiet moment."""
        pid = self._daemon.process.pid
        now = Footprint.of(pid)
        if self._life is None or self._life[0] != pid:
            self._life = (pid, now)
        grown = now.grown_since(self._life[1])
        self._growth = max(self._growth, grown, key=lambda one: (one.threads + one.files, one.rss_mib))
        if grown.leaks:
            self.tally.leaks.append(f"the daemon has grown by {asdict(grown)}")

    def _prove(self) -> None:
        """Once more, by the next daemon: what stands in the journal is what it knows, and it is whole."""
        if self.tally.harm:
            return
        before = {number: record["state"] for number, record in self._records.items()}
        self._daemon.kill()
        self._daemon.start()
        self._quiet()
        changed = [number for number, state in before.items() if self._records[number]["state"] != state]
        self.tally.mismatches += [f"migration {number} has another end after a restart" for number in changed]
        with closing(sqlite3.connect(self._disk.journal)) as journal:
            [whole] = journal.execute("PRAGMA integrity_check").fetchone()
        if whole != "ok":
            self.tally.mismatches.append(f"the journal is damaged: {whole}")

    def _figures(self) -> dict[str, Any]:
        tally, records = self.tally, self._records.values()
        states = Counter(record["state"] for record in records if record["started_at"] is not None)
        return {
            "seed": self._seed,
            "faults": tally.faults.total(),
            "migrations_attempted": states.total(),
            "migrations_completed": states["completed"],
            "vms_lost": len(tally.lost),
            "vms_duplicated": len(tally.duplicated),
            "vms_rebooted": len(tally.rebooted),
            "journal_mismatches": len(tally.mismatches),
            "migrations_failed": states["failed"],
            "migrations_aborted": states["aborted"],
            "faults_by_kind": dict(sorted(tally.faults.items())),
            "leaks": len(tally.leaks),
            "daemon_grew": asdict(self._growth),
        }


def _shuffled_for_ever(things: tuple[Any, ...], rng: random.Random) -> Iterator[Any]:
    """Each of them once before any comes again."""
    while True:
        yield from rng.sample(things, len(things))
