"""What a kill alone does not show: two at once, a frozen executor, a lost store, a full disk, a clock set back …"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.crash.commands import KILLED, call, start
from tests.crash.frozen import ENDS_S, REFUSED, traces
from tests.crash.judge import codes, living_primaries, records
from tests.crash.scenarios import Scenario
from tests.integration.drills import ROOT, Home

PROMOTE = "legal-person/db@b:promote"
REJOIN = "legal-person/db@a:rejoin"
DETACH = "legal-person/db@b:detach"
INTERRUPTED, ROLLED_BACK, PARTIAL = 130, 7, 8
REACHED_S = 60.0

Special = Callable[[Home, Scenario], Iterator[str]]
"""Carries the case out up to the end of the run; yields what is wrong."""


def two_resumes(home: Home, scenario: Scenario) -> Iterator[str]:
    """Two people resume the same dead run at once: one goes on, the other is refused."""
    yield from _kill(home, scenario, f"inside:{PROMOTE}:2")
    both = [start(home, scenario.recover) for _ in range(2)]
    ended = [(p, p.communicate(timeout=ENDS_S)[1]) for p in both]
    ended_with = sorted(p.returncode for p, _ in ended)
    if ended_with not in [sorted((code, REFUSED)) for code in codes(home, scenario)]:
        yield f"two resumes ended with {ended_with}: {[e[-200:] for _, e in ended]}"
    refused = next((err for p, err in ended if p.returncode == REFUSED), "")
    if "live process" not in refused:
        yield f"the refusal does not say why: {refused[-200:]}"


def frozen_and_taken_over(home: Home, scenario: Scenario) -> Iterator[str]:
    """The executor is frozen inside an effect; another takes over and ends the run; the first wakes up."""
    yield from _taken_over(home, scenario, wake_at_end=True)


def frozen_and_awake_in_the_middle(home: Home, scenario: Scenario) -> Iterator[str]:
    """As before, and the first wakes up while the second is at work."""
    yield from _taken_over(home, scenario, wake_at_end=False)


def _taken_over(home: Home, scenario: Scenario, *, wake_at_end: bool) -> Iterator[str]:
    first = start(home, scenario.words)
    _until(home, "effect_started", REJOIN if not wake_at_end else PROMOTE)
    first.send_signal(signal.SIGSTOP)
    refused = call(home, scenario.recover)
    if refused.code != REFUSED:
        yield f"a resume beside a frozen executor ended with {refused.code}, and not {REFUSED}"
    second = start(home, (*scenario.recover, "--takeover"))
    if not wake_at_end:
        _until(home, "run_resumed", "")
    else:
        second.wait(ENDS_S)
    before = traces(home) if wake_at_end else None
    first.send_signal(signal.SIGCONT)
    _, woken = first.communicate(timeout=ENDS_S)
    _, err = second.communicate(timeout=ENDS_S)
    if second.returncode not in codes(home, scenario):
        yield f"the takeover ended with {second.returncode}: {err[-300:]}"
    if first.returncode != REFUSED or "taken over" not in woken:
        yield f"the late executor ended with {first.returncode}: {woken[-300:]}"
    if wake_at_end and traces(home) != before:
        yield "the late executor changed something"
    epochs = [r["epoch"] for r in records(home)]
    if epochs != sorted(epochs):
        yield f"an older epoch wrote after a newer one: {epochs}"


def store_gone(home: Home, scenario: Scenario) -> Iterator[str]:
    """The state database has gone with its disk: plan file and journal suffice."""
    yield from _kill(home, scenario, f"inside:{PROMOTE}:3")
    for path in home.path.glob("state.sqlite*"):
        path.unlink()
    yield from _resume(home, scenario)


def store_spoilt(home: Home, scenario: Scenario) -> Iterator[str]:
    """The state database is there and is none."""
    yield from _kill(home, scenario, f"inside:{REJOIN}:2")
    for path in home.path.glob("state.sqlite*"):
        path.write_bytes(b"this is no database " * 1000)
    yield from _resume(home, scenario)


def clock_set_back(home: Home, scenario: Scenario) -> Iterator[str]:
    """The machine's clock is an hour behind after the crash, for the resume and everything that it starts itself."""
    yield from _kill(home, scenario, f"gate_judged:{PROMOTE}:before")  # what was seen before is weighed in the resume
    words = [sys.executable, "-m", "tests.crash.set_back", *home.command(*scenario.recover)[3:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=ENDS_S)
    if done.returncode not in codes(home, scenario):
        yield f"the resume with the clock set back ended with {done.returncode}: {done.stderr[-300:]}"
    at = [r["at"] for r in records(home)]
    if at == sorted(at):
        yield "the clock was not set back: this proves nothing"


def ctrl_c_twice(home: Home, scenario: Scenario) -> Iterator[str]:
    """Ctrl-C: stop after the running steps. Again: at once, in the middle of a playbook."""
    process = start(home, scenario.words)
    _until(home, "effect_started", REJOIN)
    time.sleep(1.0)  # into the playbook
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    still = process.poll()
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, err = process.communicate(timeout=ENDS_S)
    if still is not None or process.returncode != INTERRUPTED:
        yield f"after the first Ctrl-C {still}, after the second {process.returncode}: {err[-300:]}"
    if (took := time.monotonic() - begun) > 10:
        yield f"the second Ctrl-C took {took:.1f} s"
    if "Traceback" in err:
        yield f"a traceback reached the operator: {err[-300:]}"
    yield from _resume(home, scenario)


def ctrl_c_once(home: Home, scenario: Scenario) -> Iterator[str]:
    """Ctrl-C: the running steps end, and the run can be resumed."""
    process = start(home, scenario.words)
    _until(home, "effect_started", DETACH)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=ENDS_S)
    if process.returncode != INTERRUPTED:
        yield f"Ctrl-C ended with {process.returncode}: {err[-300:]}"
    if records(home)[-1]["event"] != "run_interrupted":
        yield f"the journal ends with {records(home)[-1]['event']}"
    yield from _resume(home, scenario)


def abort_after_promotion(home: Home, scenario: Scenario) -> Iterator[str]:
    """A dead run whose promotion is done is aborted: the promotion is never undone, and a person is told."""
    yield from _kill(home, scenario, f"step_done:{PROMOTE}:after")
    done = call(home, ("runs", "abort", "last"))
    if done.code != PARTIAL or living_primaries(home, "legal-person") != ["legal-person/db@b"]:
        yield f"the abort ended with {done.code}: {done.err[-300:]}"
    yield from _resume(home, scenario)


def disk_full(home: Home, scenario: Scenario) -> Iterator[str]:
    """The home's disk is full at several moments of the run; each time nothing is lost, and it goes on with room."""
    with small_disk(home):
        ballast = home.path / "ballast"
        words, moments = scenario.words, (("step_done", "inject"), ("effect_started", REJOIN), ("run_closed", ""))
        for event, step in moments:
            process = start(home, words)
            _until(home, event, step)
            _fill(ballast)
            _, err = process.communicate(timeout=ENDS_S)
            ballast.unlink()
            wanted = {PARTIAL} if event != "run_closed" else {3}
            if process.returncode not in wanted or "Traceback" in err:
                yield f"full after {event} {step}: exit {process.returncode}, wanted {wanted}: {err[-400:]}"
            if process.returncode == 0:
                return
            words = scenario.recover
        yield from _resume(home, scenario)


@contextmanager
def small_disk(home: Home) -> Iterator[None]:
    """The home on a disk of its own, a few megabytes; copied to a roomy one at the end."""
    aside = home.path.with_name(f"{home.path.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    home.path.rename(aside)
    home.path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(home.path)], check=True)
    try:
        shutil.copytree(aside, home.path, symlinks=True, dirs_exist_ok=True)
        yield
    finally:
        shutil.rmtree(aside)
        shutil.copytree(home.path, aside, symlinks=True)
        subprocess.run(["umount", "-l", str(home.path)], check=True)
        home.path.rmdir()
        aside.rename(home.path)


def may_mount() -> bool:
    """Whether we may give a home a disk of its own: as root, and not in every container."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        return done.returncode == 0 and subprocess.run(["umount", folder], check=False).returncode == 0


def _fill(ballast: Path) -> None:
    """Take the last byte, and keep at it: a file that is closed gives its unused end back."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def _kill(home: Home, scenario: Scenario, point: str) -> Iterator[str]:
    done = call(home, scenario.words, point)
    if done.code != KILLED:
        yield f"not killed at {point}: {done.code} {done.err[-300:]}"


def _resume(home: Home, scenario: Scenario) -> Iterator[str]:
    done = call(home, scenario.recover)
    if done.code not in codes(home, scenario):
        yield f"the resume ended with {done.code}: {done.err[-300:]}"
    if "Traceback" in done.err:
        yield f"a traceback reached the operator: {done.err[-300:]}"


def _until(home: Home, event: str, step: str) -> None:
    """Wait until the last run's journal holds such a record."""
    deadline = time.monotonic() + REACHED_S
    told = f'"event":"{event}","step":"{step}'
    while time.monotonic() < deadline:
        for journal in (home.path / "runs").glob("[!.]*/journal.jsonl"):
            if told in journal.read_text():
                return
        time.sleep(0.003)
    raise AssertionError(f"it did not come to {event} {step}")


class Known(NamedTuple):
    """A special and where it is tried."""

    carry: Special
    scenarios: tuple[str, ...] = ("centre-killed",)
    possible: Callable[[], bool] = lambda: True


SPECIALS: dict[str, Known] = {
    "two-resumes": Known(two_resumes, ("centre-killed", "switchover")),
    "frozen-and-taken-over": Known(frozen_and_taken_over, ("centre-killed", "switchover")),
    "frozen-and-awake-in-the-middle": Known(frozen_and_awake_in_the_middle),
    "store-gone": Known(store_gone, ("centre-killed", "switchover")),
    "store-spoilt": Known(store_spoilt),
    "clock-set-back": Known(clock_set_back, ("centre-killed", "switchover")),
    "ctrl-c-twice": Known(ctrl_c_twice, ("centre-killed", "switchover")),
    "ctrl-c-once": Known(ctrl_c_once),
    "abort-after-promotion": Known(abort_after_promotion),
    "disk-full": Known(disk_full, possible=may_mount),
}
