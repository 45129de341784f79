"""`drctl check` against real databases: what it finds for each fault, its exit codes, its time, and the safety core."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app import open_context
from orchestrator.checks.conditions import Evidence, judge, remember
from orchestrator.cli.options import Settings
from orchestrator.context import Context
from orchestrator.model.observation import Finding, Reach, Verdict
from orchestrator.model.plan import Condition, Fact, Verb
from orchestrator.providers.base import Order
from tests.integration.labs import Lab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
ROOT = Path(__file__).resolve().parents[2]
DB_A, DB_B, DB_C = "legal-person/db@a", "legal-person/db@b", "legal-person/db@c"
EPOCH = 3
TIME_OUT_S = 2.0


def command(lab: Lab, *words: str) -> list[str]:
    home = str(lab.dir.parent)
    return [
        sys.executable,
        "-m",
        "orchestrator.cli.main",
        "--home",
        home,
        "--lab",
        str(lab.dir),
        "--lang",
        "en",
        *words,
    ]


def drctl(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(lab, *words), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def check(lab: Lab, *words: str) -> tuple[int, dict[str, Any], dict[tuple[str, str], str]]:
    """Exit code, the report, and (check, subject) → verdict."""
    done = drctl(lab, "check", "--output", "json", *words)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report, {(f["check"], f["subject"]): f["verdict"] for f in report["findings"]}


def wait_healthy(lab: Lab) -> None:
    wait_for(lambda: check(lab)[0] == 0, "every check passes", 30)


def wait_found(lab: Lab, wanted: dict[tuple[str, str], str], *words: str) -> dict[str, Any]:
    """The first report that has all of `wanted`."""
    seen: list[dict[str, Any]] = []

    def there() -> bool:
        _, report, verdicts = check(lab, *words)
        seen.append(report)
        return wanted.items() <= verdicts.items()

    wait_for(there, f"{wanted}", 30)
    return seen[-1]


def reason(report: dict[str, Any], name: str, subject: str) -> str:
    return next(str(f["reason"]["en"]) for f in report["findings"] if (f["check"], f["subject"]) == (name, subject))


@pytest.fixture
def healthy(fresh_lab: Lab) -> Lab:
    """The module's lab, with every fault of the test before taken away."""
    fresh_lab.heal()
    wait_healthy(fresh_lab)
    return fresh_lab


def test_a_healthy_lab_passes_every_check(healthy: Lab) -> None:
    code, report, verdicts = check(healthy)
    assert code == 0
    assert set(verdicts.values()) == {"pass"}
    assert (report["instances"], report["answered"]) == (21, 21)
    assert {name for name, _ in verdicts} >= {"sync", "lag", "slots", "timeline", "disk", "clock", "capacity", "entry"}


def test_the_table_names_every_system_and_has_no_colour_codes_in_a_pipe(healthy: Lab) -> None:
    done = drctl(healthy, "check")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert all(s in done.stdout for s in ("legal-person", "sharing", "open-data", "0 fail, 0 unknown"))
    chinese = drctl(healthy, "--lang", "zh", "check")
    assert "法人库" in chinese.stdout and "失败 0，未知 0" in chinese.stdout


def test_filters(healthy: Lab) -> None:
    _, _, verdicts = check(healthy, "--system", "sharing", "--centre", "c", "--check", "lag", "--check", "disk")
    assert set(verdicts) == {("lag", "sharing/db@c"), ("disk", "sharing/db@c")}
    _, report, verdicts = check(healthy, "--kind", "haproxy", "--system", "open-data")
    assert set(verdicts) == {("reachable", "open-data/entry@edge"), ("entry", "open-data/entry@edge")}
    assert "sends users to a, b, and they answer from the primary" in reason(report, "entry", "open-data/entry@edge")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--system", "legal-persom"], "did you mean 'legal-person'?"),
        (["--centre", "d"], "there are: a, b, c, edge"),
        (["--kind", "postgres"], "did you mean 'postgresql'?"),
        (["--check", "lagg"], "did you mean 'lag'?"),
        (["--kind", "haproxy", "--centre", "a"], "leave nothing to check"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_bad_words_touch_nothing(fresh_lab: Lab, words: list[str], message: str) -> None:
    done = drctl(fresh_lab, "check", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout


def test_nothing_that_answers_is_unreadable(tmp_path: Path) -> None:
    done = drctl(Lab(tmp_path / "no-lab"), "check")
    assert done.returncode == 6
    assert "none of 21 instances answered" in done.stderr
    assert "drctl lab up" in done.stderr
    assert "Traceback" not in done.stderr


def test_silently_degraded_replication_is_found(healthy: Lab) -> None:
    healthy.sql(DB_A, "ALTER SYSTEM SET synchronous_standby_names = ''")
    healthy.sql(DB_A, "SELECT pg_reload_conf()")
    try:
        report = wait_found(healthy, {("sync", DB_B): "fail", ("copies", "legal-person/db"): "pass"})
        assert "silently degraded: a acknowledges without b" in reason(report, "sync", DB_B)
    finally:
        healthy.sql(DB_A, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (b)'")
        healthy.sql(DB_A, "SELECT pg_reload_conf()")


def test_a_cut_link_between_the_two_city_centres(healthy: Lab) -> None:
    healthy.inject("cut-link a-b")
    wanted = {("sync", DB_B): "fail", ("copies", "legal-person/db"): "fail", ("one_primary", "legal-person/db"): "pass"}
    report = wait_found(healthy, wanted)
    assert "writes wait" in reason(report, "sync", DB_B)


def test_a_stopped_standby(healthy: Lab) -> None:
    healthy.inject(f"stop-service {DB_C}")
    wanted = {("reachable", DB_C): "fail", ("lag", DB_C): "unknown", ("copies", "legal-person/db"): "fail"}
    report = wait_found(healthy, wanted)
    assert "nobody listens" in reason(report, "reachable", DB_C)
    assert check(healthy, "--system", "sharing")[0] == 0


def test_a_lag_that_fills_up(healthy: Lab) -> None:
    healthy.inject("lag c")
    for number in range(20):
        assert healthy.write("legal-person/entry@edge", f"check-lag-{number}") == 201
    _, report, _ = check(healthy, "--system", "legal-person")
    told = reason(report, "lag", DB_C)
    assert "behind" in told or "not replayed" in told
    assert not told.startswith("0 ms behind")


def test_a_frozen_centre_costs_one_time_out_and_nothing_of_it_passes(healthy: Lab) -> None:
    healthy.inject("freeze-centre a")
    _, report, verdicts = check(healthy, "--timeout", str(TIME_OUT_S))
    silent = report["instances"] - report["answered"]
    assert silent >= 6
    assert report["took_s"] < TIME_OUT_S * silent / 2  # one time-out each, one after the other, would be twice this
    assert verdicts["one_primary", "legal-person/db"] == "unknown"
    about_a = {v for (_, subject), v in verdicts.items() if subject in {DB_A, "sharing/db@a", "legal-person/app@a"}}
    assert "pass" not in about_a
    done = drctl(healthy, "check", "--timeout", "0.5")
    assert done.returncode == 3
    assert "none of its 6 instances answers" in done.stdout


def test_watch_prints_a_line_a_look_and_ends_cleanly_on_ctrl_c(healthy: Lab) -> None:
    words = command(healthy, "check", "--watch", "0.2", "--system", "sharing")
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert all(re.match(r"\d{4}-\S+Z 3\d pass, 0 fail, 0 unknown", line) for line in lines), lines
    assert process.returncode == 0
    assert "Traceback" not in errors and "error" not in errors


def test_watch_keeps_its_memory(healthy: Lab) -> None:
    import psutil

    words = command(healthy, "check", "--watch", "0.1", "--system", "sharing", "--output", "json")
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for _ in range(15):
            process.stdout.readline()
        early = psutil.Process(process.pid).memory_info().rss
        for _ in range(45):
            process.stdout.readline()
        late = psutil.Process(process.pid).memory_info().rss
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert late - early < 4 << 20


def test_a_reader_that_goes_away_ends_watch(healthy: Lab) -> None:
    words = command(healthy, "check", "--watch", "0.1", "--system", "sharing")
    read, write = os.pipe()
    process = subprocess.Popen(words, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors
    assert process.returncode == 0


def opened(lab: Lab) -> Context:
    return open_context(Settings(estate="lab", home=lab.dir.parent, lab_dir=lab.dir, state="", lang="en"))


async def nobody(context: Context, lab: Lab, instance: str) -> None:
    """`repoint(instance → nobody)`, as the executor orders it."""
    found = context.topology.instance_by_id[instance]
    order = Order(
        run="test",
        step=f"{instance}:repoint",
        epoch=EPOCH,
        service=context.topology.service_by_id[found.service],
        instance=found,
        within_s=10,
        artifacts=lab.dir.parent / "artifacts",
    )
    await context.actors["postgresql"].act(Verb.REPOINT, order)


async def test_the_licence_of_a_promotion_on_real_databases(healthy: Lab) -> None:
    """Frozen centre a, step by step: no gate opens before the standby is detached, and silence alone opens none."""
    context = opened(healthy)
    before = await context.observe()
    cannot = Condition(fact=Fact.CANNOT_ACK, instance=DB_A, others=(DB_B,))
    holds = Condition(fact=Fact.HOLDS_ALL, instance=DB_B, others=(DB_A,))
    remote = Condition(fact=Fact.HOLDS_ALL, instance=DB_C, others=(DB_A,))
    detached = Condition(fact=Fact.DETACHED, instance=DB_B)

    async def judged(*conditions: Condition, known: bool = True) -> list[Finding]:
        now = await context.observe([DB_A, DB_B, DB_C], within_s=1.0)
        last = remember(before, now) if known else None
        found = Evidence(topology=context.topology, now=now, before=last, epoch=EPOCH)
        return [judge(c, found) for c in conditions]

    def verdicts(findings: list[Finding]) -> list[Verdict]:
        return [f.verdict for f in findings]

    assert verdicts(await judged(cannot, holds, detached)) == [Verdict.FAIL, Verdict.PASS, Verdict.FAIL]
    for number in range(5):
        assert healthy.write("legal-person/entry@edge", f"check-licence-{number}") == 201
    healthy.inject("freeze-centre a")
    first = await judged(cannot, detached)
    assert Verdict.PASS not in verdicts(first)

    await nobody(context, healthy, DB_B)
    found = await judged(cannot, holds, detached)
    assert verdicts(found) == [Verdict.PASS] * 3, [f.reason.en for f in found]
    assert (await judged(remote))[0].verdict is not Verdict.PASS
    assert verdicts(await judged(cannot, holds, known=False)) == [Verdict.UNKNOWN] * 2

    healthy.inject("thaw-centre a")
    wait_for(lambda: healthy.one(DB_A, "SELECT 1") == 1, "a answers again")
    thawed = await judged(cannot, holds)
    assert verdicts(thawed) == [Verdict.PASS, Verdict.PASS], [f.reason.en for f in thawed]
    assert "asks the acknowledgement of b" in thawed[0].reason.en

    healthy.sql(DB_A, "ALTER SYSTEM SET synchronous_standby_names = ''")
    healthy.sql(DB_A, "SELECT pg_reload_conf()")
    wait_for(lambda: healthy.one(DB_A, "SHOW synchronous_standby_names") == "", "a acknowledges alone")
    alone = await judged(cannot, holds)
    assert alone[0].verdict is Verdict.FAIL
    assert alone[1].verdict is not Verdict.PASS


async def test_two_primaries_are_found(fresh_lab: Lab) -> None:
    """Last: it breaks the lab for good."""

    fresh_lab.heal()
    fresh_lab.sql("sharing/db@c", "SELECT pg_promote()")
    wait_for(lambda: fresh_lab.one("sharing/db@c", "SELECT pg_is_in_recovery()") is False, "c is promoted")
    wanted = {
        ("one_primary", "sharing/db"): "fail",
        ("timeline", "sharing/db"): "fail",
        ("roles", "sharing/db@c"): "fail",
    }
    report = wait_found(fresh_lab, wanted, "--system", "sharing")
    assert "2 take writes" in reason(report, "one_primary", "sharing/db")
    readings = await opened(fresh_lab).observe(["sharing/db@a"])
    assert readings.of("sharing/db@a").reach is Reach.ANSWERED
