"""`drctl simulate` as an operator types it, and the history of timings that it and every plan draw from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from orchestrator import pastruns
from orchestrator.app import open_context
from orchestrator.cli.main import run
from orchestrator.execution import runstore
from orchestrator.model.plan import Mode, Plan, Verb
from orchestrator.settings import Settings
from orchestrator.simulation.forecast import Forecast
from orchestrator.workflow import what_is_done
from tests.simestate import plan
from tests.stage import B, Stage, failover

LOST_A = ("simulate", "centre-lost", "--lost", "a", "--runs", "20")


def drctl(home: Path, *words: str, lang: str = "en") -> int:
    return run(["--home", str(home), "--lang", lang, *words])


def test_a_forecast_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, *LOST_A) == 0
    told = capsys.readouterr().out
    for words in ("20 imagined runs (seed 1)", "p95", "Critical path", "Riskiest step: ", "legal-person", "60.00 s"):
        assert words in told
    assert drctl(tmp_path, *LOST_A, lang="zh") == 0
    assert "关键路径" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists(), "nothing is touched, at home neither"


def test_json_is_the_forecast_and_the_seed_repeats_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for seed in ("7", "7", "8"):
        assert drctl(tmp_path, *LOST_A, "--seed", seed, "--output", "json") == 0
        found.append(msgspec.json.decode(capsys.readouterr().out, type=Forecast))
    assert found[0] == found[1]
    assert found[0].rto != found[2].rto


def test_a_missed_target_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, *LOST_A, "--slow", "link:a-b=30s") == 0, "users do not wait for what crosses to a"
    assert drctl(tmp_path, "simulate", "switchover", "--to", "b", "--slow", "a-b=30s", "--runs", "20") == 3
    capsys.readouterr()
    assert drctl(tmp_path, "simulate", "switchover", "--to", "c", "--without", "centre-b", "--runs", "20") == 3
    told = capsys.readouterr().out
    assert "never" in told
    assert "Cannot be done" in told


def test_a_centre_that_nobody_reaches_cannot_be_fenced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("simulate", "site-lost", "--lost", "a", "--without", "b", "--runs", "5", "--output", "json")
    assert drctl(tmp_path, *words) == 3
    found = msgspec.json.decode(capsys.readouterr().out)
    assert {s["breaks"] for s in found["systems"]} <= {s for s in found["blocked"] if s.endswith("@b:fence")}
    assert found["rto"]["p50_s"] is None, "never"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--slow", "nonsense"), "cannot read --slow"),
        (("--slow", "link:a-b=fast"), "not a duration"),
        (("--slow", "link:a-z=1s"), "no centre 'z'"),
        (("--without", "z"), "no centre 'z'"),
        (("--runs", "0"), "Invalid value for '--runs'"),
        (("--teams", "-1"), "Invalid value for '--teams'"),
    ],
)
def test_bad_words_are_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str
) -> None:
    assert drctl(tmp_path, *LOST_A, *words) == 2
    assert error in capsys.readouterr().err


def test_what_depends_on_how_things_stand_is_not_imagined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, "simulate", "restore") == 2
    assert "cannot be simulated" in capsys.readouterr().err


async def a_run(home: Path, mode: Mode = Mode.LIVE) -> Plan:
    """One that was carried out."""
    stage = Stage(home, failover(), mode=mode)
    await stage.go()
    return stage.plan


async def test_past_runs_are_measured(tmp_path: Path) -> None:
    assert pastruns.durations(tmp_path, "sim") == {}
    made = await a_run(tmp_path)
    await a_run(tmp_path)
    found = pastruns.durations(tmp_path, made.estate)
    assert len(found[Verb.PROMOTE, "simdb"]) == 2
    assert all(0 <= s < 60 for seconds in found.values() for s in seconds)
    assert pastruns.durations(tmp_path, "another estate") == {}
    assert len(pastruns.durations(tmp_path, made.estate, runs=1)[Verb.PROMOTE, "simdb"]) == 1
    timing = next(t for t in pastruns.history(tmp_path, made.estate) if t.verb is Verb.PROMOTE)
    assert timing.kind == "simdb"
    assert timing.seconds == round(max(found[Verb.PROMOTE, "simdb"]), 3)


async def test_a_rehearsal_measures_nothing_and_a_broken_run_is_passed_over(tmp_path: Path) -> None:
    made = await a_run(tmp_path, Mode.REHEARSAL)
    assert pastruns.durations(tmp_path, made.estate) == {}
    await a_run(tmp_path)
    journal = tmp_path / "runs" / runstore.run_ids(tmp_path)[-1] / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"promote", b"PROMOTE"))
    assert pastruns.durations(tmp_path, made.estate) == {}


def test_a_plan_draws_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(estate="lab", home=tmp_path, lab_dir=tmp_path / "lab", state="", lang="en")
    usual = open_context(settings).timings().forecast_s(Verb.PROMOTE, "postgresql")
    monkeypatch.setattr(pastruns, "durations", lambda home, estate: {(Verb.PROMOTE, "postgresql"): (7.0, 9.0, 8.0)})
    assert open_context(settings).timings().forecast_s(Verb.PROMOTE, "postgresql") == 8.0 != usual


def test_a_filed_plan_stays_the_same_when_forecasts_change() -> None:
    made = plan(failover())
    slower = msgspec.structs.replace(
        made, steps=tuple(msgspec.structs.replace(s, forecast_s=s.forecast_s + 1, critical=True) for s in made.steps)
    )
    assert what_is_done(slower) == what_is_done(made)
    other = msgspec.structs.replace(made, steps=tuple(s for s in made.steps if s.id != f"{B}:promote"))
    assert what_is_done(other) != what_is_done(made)
