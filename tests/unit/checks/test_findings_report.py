"""What `drctl check` prints: the matrix, the findings, the counts; and the command's words and exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from orchestrator.checks import judge_all
from orchestrator.cli import main as cli
from orchestrator.model.observation import Finding, Reach, Snapshot, Verdict
from orchestrator.model.topology import Text, Topology
from orchestrator.model.view import Sight, View
from orchestrator.reports.findings import plain_line, render, report, summary, worst
from tests.unit.checks.world import APP_A, HEALTHY, LINE, PEOPLE, TOPOLOGY, A, B, change, gone, name


def page(snapshot: Snapshot, lang: str = "en", topology: Topology = TOPOLOGY, width: int = 100, **how: Any) -> str:
    result = report(snapshot, judge_all(topology, snapshot), 0.25)
    out = io.StringIO()
    Console(file=out, width=width).print(render(topology, result, lang, **how))
    return out.getvalue()


def dark_a() -> Snapshot:
    return gone(gone(HEALTHY, A), APP_A)


def test_a_healthy_page_is_a_matrix_and_a_count() -> None:
    lines = page(HEALTHY).splitlines()
    assert lines[0] == "small · 2026-11-23T00:10:00Z"
    head = lines[2].split()
    assert head[:4] == ["reach", "role", "prim", "sync"]
    database = next(line for line in lines if line.startswith("  db "))
    assert database.split()[1:] == ["✓"] * 12 + ["·"] * 2
    assert "people  People" in lines
    assert lines[-1] == "36 pass, 0 fail, 0 unknown · 8 of 8 instances answered · took 0.25 s"
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines[2:9])


def test_columns_stand_under_their_heads_in_both_languages() -> None:
    from rich.cells import cell_len

    for lang in ("en", "zh"):
        lines = page(HEALTHY, lang).splitlines()
        heads, database = lines[2], next(line for line in lines if line.startswith("  db "))
        assert cell_len(database.rstrip()) <= cell_len(heads)
        assert cell_len(database) > cell_len(heads) - 10


def test_a_dark_centre_is_told_first_and_its_unknowns_once() -> None:
    text = page(dark_a())
    body = text[text.index("✗ centre") :].splitlines()
    assert body[0] == "✗ centre a (a): none of its 2 instances answers"
    assert body[1] == "✗ reachable  people/db@a, people/app@a"
    assert "cannot be told which" in body[2]
    assert body[3].startswith("    → ")
    assert "? people/db@a, people/app@a\n    no answer, and so not known: roles, slots, disk, clock, app" in text
    assert text.count("people/db@a") == 2
    assert "centre b" not in text
    assert "1 fail" not in text


def test_a_single_silent_instance_is_no_dark_centre() -> None:
    assert "none of its" not in page(gone(HEALTHY, A))


def test_chinese() -> None:
    text = page(dark_a(), "zh")
    assert "a 中心（a）：2 个实例全部无应答" in text
    assert "people  人口库" in text
    assert "无应答，因此未知" in text


def test_the_summary_comes_first_where_the_page_may_be_cut_off() -> None:
    lines = page(HEALTHY, summary_first=True).splitlines()
    assert lines[1].startswith("36 pass")
    assert not lines[-1].startswith("36 pass")


def many(count: int) -> tuple[Topology, Snapshot]:
    """An estate of `count` bare links, of which every tenth does not answer, each in its own way."""
    link = LINE.services[0]
    systems, readings = [], []
    for number in range(count):
        system = f"s{number:03}"
        instance = replace(link.instances[0], id=f"{system}/link@edge", service=f"{system}/link")
        service = replace(link, id=f"{system}/link", system=system, instances=(instance,))
        systems.append(replace(LINE, id=system, name=name(system), services=(service,)))
        reading = replace(HEALTHY.of("line/link@edge"), instance=instance.id)
        bad = replace(reading, reach=Reach.DENIED, error=f"reason {number}")
        readings.append(bad if number % 10 == 0 else reading)
    return replace(TOPOLOGY, systems=tuple(systems)), replace(HEALTHY, readings=tuple(readings))


def test_a_large_estate_has_a_row_for_each_system_that_does_not_pass() -> None:
    topology, snapshot = many(500)
    text = page(snapshot, topology=topology)
    rows = [line for line in text.splitlines() if line.startswith("s")]
    assert len(rows) == 1 + 50  # the heading is one
    assert "s010   ✗" in text
    assert "… and 450 systems that pass every check" in text
    assert "… and 10 more: --output json has all" in text


def test_findings_that_say_the_same_are_told_once() -> None:
    topology, snapshot = many(100)
    same = replace(snapshot, readings=tuple(replace(r, error="") for r in snapshot.readings))
    text = page(same, topology=topology)
    assert text.count("a server is there and lets us not in") == 1
    assert "s050/link@edge and 4 more" in text


def test_counts_and_the_worst() -> None:
    result = report(change(HEALTHY, B, reach=Reach.SILENT), judge_all(TOPOLOGY, dark_a()), 0.1)
    assert (result.instances, result.answered) == (8, 7)
    assert result.passed + result.failed + result.unknown == len(result.findings)
    assert result.verdict is Verdict.FAIL
    assert worst([]) is Verdict.UNKNOWN
    assert worst([Verdict.PASS, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert report(HEALTHY, (), 0.1).verdict is Verdict.UNKNOWN
    assert "通过 0" in summary(report(HEALTHY, (), 0.1), "zh")


def test_one_line_for_a_log() -> None:
    bad = Finding(check="lag", subject=B, verdict=Verdict.FAIL, reason=Text(en="x", zh="x"))
    line = plain_line(report(HEALTHY, (bad,), 0.1), "en")
    assert line.startswith("2026-11-23T00:10:00Z 0 pass, 1 fail")
    assert line.endswith("✗ people/db@b lag")
    assert "\n" not in line


class Watching:
    """Stands for the team's observers: B does not see A, C does."""

    observers = ("a", "b", "c")

    async def views(self) -> tuple[View, ...]:
        return (
            View(observer="b", centre="a", sight=Sight.UNSEEN),
            View(observer="c", centre="a", sight=Sight.SEEN),
            View(observer="a", centre="b", sight=Sight.SEEN),
            View(observer="c", centre="b", sight=Sight.SEEN),
        )


class Estate:
    """Stands for the composition of `app`: the topology, and looks that are at hand."""

    def __init__(self, snapshots: list[Snapshot]) -> None:
        self.topology = TOPOLOGY
        self.lang = "en"
        self.snapshots = snapshots
        self.looked_at: list[Collection[str] | None] = []
        self.watching: Watching | None = None

    def watch(self) -> Watching | None:
        return self.watching

    async def observe(self, instances: Collection[str] | None = None, within_s: float = 2.0) -> Snapshot:
        self.looked_at.append(instances)
        if len(self.snapshots) == 1:
            return self.snapshots[0]
        if not self.snapshots:
            raise KeyboardInterrupt
        return self.snapshots.pop(0)


@pytest.fixture
def estate(monkeypatch: pytest.MonkeyPatch) -> Estate:
    found = Estate([HEALTHY])
    monkeypatch.setattr("orchestrator.app.open_context", lambda settings: found)
    return found


def drctl(tmp_path: Path, *words: str) -> int:
    return cli.run(["--home", str(tmp_path), "check", *words])


def test_what_the_observers_see_of_each_centre(
    estate: Estate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estate.watching = Watching()
    assert drctl(tmp_path) == 0
    told = capsys.readouterr().out
    assert "centre a: unknown (b unseen, c seen)" in told
    assert "centre b: reachable (a seen, c seen)" in told
    assert drctl(tmp_path, "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)["centres"]
    assert [(c["centre"], c["state"]) for c in found][:2] == [("a", "unknown"), ("b", "reachable")]


def test_exit_codes(estate: Estate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path) == 0
    estate.snapshots = [gone(HEALTHY, A)]
    assert drctl(tmp_path) == 3
    estate.snapshots = [change(HEALTHY, B, lag_s=None)]
    assert drctl(tmp_path) == 3
    capsys.readouterr()
    estate.snapshots = [replace(HEALTHY, readings=tuple(replace(r, reach=Reach.SILENT) for r in HEALTHY.readings))]
    assert drctl(tmp_path) == 6
    out, err = capsys.readouterr()
    assert not out
    assert "none of 8 instances answered (people/db@a: no answer within 0.0 s" in err


def test_json(estate: Estate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, "--output", "json", "--check", "lag", "--system", "people") == 0
    found = json.loads(capsys.readouterr().out)
    assert [f["subject"] for f in found["findings"]] == ["people/db@b", "people/db@c"]
    assert (found["passed"], found["failed"], found["unknown"]) == (2, 0, 0)


def test_a_system_is_looked_at_as_a_whole(estate: Estate, tmp_path: Path) -> None:
    drctl(tmp_path, "--system", "people", "--centre", "c")
    drctl(tmp_path, "--centre", "c")
    whole = [i.id for v in PEOPLE.services for i in v.instances]
    assert estate.looked_at == [whole, None]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--system", "peple"], "did you mean 'people'?"),
        (["--centre", "z"], "there are: a, b, c, edge"),
        (["--kind", "db-kin"], "did you mean 'db-kind'?"),
        (["--check", "one-primary"], "did you mean 'one_primary'?"),
        (["--system", "line", "--kind", "db-kind"], "take one of"),
        (["--system", "line", "--centre", "a"], "take one of"),
    ],
)
def test_a_filter_that_names_nothing_is_refused_and_nothing_is_looked_at(
    estate: Estate, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], hint: str
) -> None:
    assert drctl(tmp_path, *words) == 2
    assert hint in capsys.readouterr().err
    assert estate.looked_at == []


@pytest.mark.parametrize("output", ["table", "json"])
def test_watch_tells_a_line_a_look_until_ctrl_c(
    estate: Estate, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    looks = [HEALTHY, gone(HEALTHY, A), HEALTHY]

    async def observe(instances: Collection[str] | None = None, within_s: float = 2.0) -> Snapshot:
        if not looks:
            raise KeyboardInterrupt
        return looks.pop(0)

    estate.observe = observe  # type: ignore[method-assign]
    assert drctl(tmp_path, "--watch", "0.1", "--output", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    wanted = '"failed":0' if output == "json" else "36 pass, 0 fail, 0 unknown"
    assert [wanted in line for line in lines] == [True, False, True]
