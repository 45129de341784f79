"""The ledger survives a canary that was killed while it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.canary import LedgerFile, read_ledger, warm
from orchestrator.carry import WARM_WRITES, warm_lines
from orchestrator.model.canary import Header, Operation, Result

HEADER = Header(entry="s/entry@edge", system="s", boot="x", t0_utc="", t0_mono=0.0, rate=200.0, prefix="r.s.")


def operation(name: str) -> Operation:
    return Operation(k="w", i=name, s=1.0, e=2.0, o=Result.OK, c=201)


def test_half_a_line_is_cut_before_a_resumed_canary_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    first = LedgerFile(path, HEADER)
    first.add(operation("one"))
    first.close()
    with path.open("ab") as file:
        file.write(b'{"k":"w","i":"to')
    second = LedgerFile(path, HEADER)
    second.add(operation("two"))
    second.close()
    assert [o.i for o in read_ledger(path).operations] == ["one", "two"]
    assert path.read_bytes().count(b'"header":') == 1


@pytest.mark.parametrize(("rate", "operations"), [(0.5, 1), (20.0, 20), (10_000.0, WARM_WRITES)])
def test_users_are_known_to_be_served_after_a_second_also_at_a_low_rate(
    tmp_path: Path, rate: float, operations: int
) -> None:
    ledger = LedgerFile(tmp_path / "s.jsonl", HEADER)
    for number in range(operations):
        ledger.write(ledger.take())
        assert not warm(tmp_path, ["s"], warm_lines(rate)), number
        ledger.add(operation(str(number)))
    ledger.close()
    assert warm(tmp_path, ["s"], warm_lines(rate))
    assert not warm(tmp_path, ["s", "another"], warm_lines(rate))
