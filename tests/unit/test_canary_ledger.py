"""The ledger survives a canary that was killed while it wrote."""

from __future__ import annotations

from pathlib import Path

from orchestrator.canary import LedgerFile, read_ledger
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
