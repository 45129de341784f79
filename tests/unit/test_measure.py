"""Figures from ledgers that are built by hand, so that each is known beforehand."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.evidence.journal import seal
from orchestrator.measure import covers, outage, reconcile
from orchestrator.model.canary import Header, Ledger, Operation, Result, value_of
from orchestrator.model.run import Event, Record


def ledger(*operations: Operation) -> Ledger:
    header = Header(entry="s/entry@edge", system="s", boot="x", t0_utc="", t0_mono=0.0, rate=200.0, prefix="r.s.")
    return Ledger(header=header, operations=operations)


def write(number: int, sent: float, result: Result = Result.OK, took: float = 0.002) -> Operation:
    return Operation(k="w", i=f"r.s.{number}", s=sent, e=sent + took, o=result, c=201)


def steady(begin: float, end: float, first: int) -> list[Operation]:
    count = round((end - begin) / 0.01)
    return [write(first + n, begin + n * 0.01) for n in range(count)]


def rows(*operations: Operation) -> dict[str, str]:
    return {o.i: value_of(o.i) for o in operations}


def test_a_pause_with_failures_is_the_outage() -> None:
    before, after = steady(0, 5, 0), steady(5.4, 8, 1000)
    failed = [write(2000 + n, 5.0 + n * 0.01, Result.REFUSED) for n in range(40)]
    seen = reconcile(ledger(*before, *failed, *after), rows(*before, *after), 5.0)
    assert seen.outage_ms == 410.0
    assert seen.writes_failed == 40 and seen.writes_lost == () and seen.rpo_s == 0.0


def test_an_acknowledged_write_that_is_gone_is_lost_and_named() -> None:
    before, after = steady(0, 5, 0), steady(5.4, 6, 1000)
    gone = before[-3:]
    seen = reconcile(ledger(*before, *after), rows(*before[:-3], *after), 5.0)
    assert seen.writes_lost == tuple(o.i for o in gone)
    assert seen.rpo_s == round(gone[-1].e - gone[0].s, 4)


def test_a_changed_value_counts_as_lost() -> None:
    before = steady(0, 1, 0)
    kept = rows(*before) | {before[0].i: "something else"}
    assert reconcile(ledger(*before), kept, 0.5).writes_lost == (before[0].i,)


def test_in_doubt_is_told_apart_from_lost() -> None:
    before = steady(0, 1, 0)
    doubt = [write(5000, 1.0, Result.DOUBT), write(5001, 1.01, Result.DOUBT)]
    seen = reconcile(ledger(*before, *doubt), rows(*before, doubt[0]), 1.0)
    assert (seen.writes_in_doubt, seen.writes_in_doubt_kept, seen.writes_lost) == (2, 1, ())


def test_no_pause_is_no_outage() -> None:
    operations = steady(0, 5, 0)
    begin, end = outage(ledger(*operations), operations, 2.0)
    assert begin == end
    assert reconcile(ledger(*operations), rows(*operations), 2.0).outage_begin_s is None


def test_an_outage_before_the_fault_does_not_count() -> None:
    operations = [*steady(0, 1, 0), *steady(2, 5, 1000)]
    assert reconcile(ledger(*operations), rows(*operations), 3.0).outage_ms == 0.0


def test_a_service_that_never_came_back_is_out_until_the_end() -> None:
    before = steady(0, 1, 0)
    failed = [write(2000 + n, 1.0 + n, Result.REFUSED) for n in range(9)]
    assert reconcile(ledger(*before, *failed), rows(*before), 1.0).outage_ms > 7900


def test_reads_that_contradict_an_acknowledgement_are_named() -> None:
    before = steady(0, 1, 0)
    wrong = Operation(k="r", i=before[0].i, s=1.0, e=1.01, o=Result.WRONG, c=404)
    assert reconcile(ledger(*before, wrong), rows(*before), 1.0).reads_wrong == (before[0].i,)


def test_a_ledger_that_another_machine_began_in_the_middle_measures_nothing() -> None:
    def record(event: Event, mono_s: float) -> Record:
        return seal(Record(seq=0, at="", mono_s=mono_s, boot="x", run="r", epoch=1, event=event, prev="", hash=""))

    records = [record(Event.RUN_OPENED, 9.0), record(Event.STEP_STARTED, 10.0), record(Event.FAULT_INJECTED, 11.0)]

    def begun(boot: str, t0: float) -> Ledger:
        made = ledger()
        return replace(made, header=replace(made.header, boot=boot, t0_mono=t0))

    assert covers(begun("x", 9.9), records)
    assert not covers(begun("x", 12.0), records), "it began after the outage"
    assert not covers(begun("y", 5.0), records), "its clock is another one"
