"""The effect journal: chain, torn lines, one writer, epochs, full disks."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import Refused, Tampered
from orchestrator.evidence.journal import Entry, Journal, JournalFailed, Superseded, genesis, read_journal
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Setting

FIRST = genesis("ab" * 32, "run-1")
FORK = multiprocessing.get_context("fork")


def journal(path: Path, epoch: int = 1, epoch_now: Callable[[], int] = lambda: 1) -> Journal:
    return Journal(path, run="run-1", first_prev=FIRST, epoch=epoch, epoch_now=epoch_now)


def filled(path: Path, count: int = 5) -> bytes:
    book = journal(path)
    for number in range(count):
        data = (Setting(name="名", value='a "quote", a \\ and ,"hash":"x"'),)
        book.append([Entry(event=Event.STEP_STARTED, step=f"s{number}", detail="一步", data=data)])
    book.close()
    return path.read_bytes()


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    records = read_journal(tmp_path / "j", FIRST)
    assert [r.seq for r in records] == [0, 1, 2, 3, 4]
    assert records[0].prev == FIRST
    assert [r.prev for r in records[1:]] == [r.hash for r in records[:-1]]
    again = journal(tmp_path / "j")
    again.append([Entry(event=Event.RUN_CLOSED), Entry(event=Event.RUN_RESUMED)])
    again.close()
    assert [r.seq for r in read_journal(tmp_path / "j", FIRST)] == list(range(7))


def test_coreutils_recompute_the_hash(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    for record in read_journal(tmp_path / "j"):
        command = (
            f'sed -n {record.seq + 1}p {tmp_path}/j | sed \'s/,"hash":"[0-9a-f]*"}}$/}}/\' | head -c -1 | sha256sum'
        )
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == record.hash


@pytest.mark.parametrize("seq", range(5))
def test_every_single_byte_is_guarded(tmp_path: Path, seq: int) -> None:
    content = filled(tmp_path / "j")
    lines = content.splitlines(keepends=True)
    offset = sum(len(line) for line in lines[:seq])
    for place in range(offset, offset + len(lines[seq]) - 1, 7):
        broken = bytearray(content)
        broken[place] ^= 0x01
        (tmp_path / "j").write_bytes(bytes(broken))
        with pytest.raises(Tampered, match=r"record \d"):
            read_journal(tmp_path / "j", FIRST)


def changed(lines: list[bytes]) -> bytes:
    return b"".join(line.replace(b'"step":"s2"', b'"step":"s9"') for line in lines)


@pytest.mark.parametrize(
    ("spoil", "seq"),
    [
        (changed, 2),
        (lambda lines: b"".join(lines[:2] + lines[3:]), 2),
        (lambda lines: b"".join([*lines[:2], lines[3], lines[2], lines[4]]), 2),
        (lambda lines: b"".join(lines[1:]), 0),
        (lambda lines: b"".join([*lines, lines[-1]]), 5),
        (lambda lines: b"".join([*lines[:2], b"\n", *lines[2:]]), 2),
    ],
    ids=["changed", "removed", "swapped", "beheaded", "repeated", "blank line"],
)
def test_tampering_names_the_record(tmp_path: Path, spoil: Callable[[list[bytes]], bytes], seq: int) -> None:
    lines = filled(tmp_path / "j").splitlines(keepends=True)
    (tmp_path / "j").write_bytes(spoil(lines))
    with pytest.raises(Tampered, match=rf"record {seq} "):
        read_journal(tmp_path / "j", FIRST)
    with pytest.raises(Tampered):
        journal(tmp_path / "j")


def test_a_journal_of_another_plan_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with pytest.raises(Tampered, match="another plan or run"):
        read_journal(tmp_path / "j", genesis("cd" * 32, "run-1"))


@pytest.mark.parametrize("left", [1, 40, 150])
def test_half_a_line_of_a_crash_is_cut_off_and_told(tmp_path: Path, left: int) -> None:
    lines = filled(tmp_path / "j").splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join(lines[:4]) + lines[4][:left])
    assert len(read_journal(tmp_path / "j", FIRST)) == 4
    book = journal(tmp_path / "j")
    cut = book.records[-1]
    book.close()
    assert cut.event is Event.JOURNAL_CUT
    assert cut.seq == 4
    assert cut.value("bytes") == str(left)
    assert read_journal(tmp_path / "j", FIRST)[-1] == cut


def test_append_is_idempotent_on_run_and_number(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    records = read_journal(tmp_path / "j")
    copy = journal(tmp_path / "copy")
    assert [copy.put(r) for r in records] == [True] * 5
    assert [copy.put(r) for r in records] == [False] * 5
    other = msgspec.structs.replace(records[2], detail="another")
    with pytest.raises(Tampered, match="record 2"):
        copy.put(other)
    with pytest.raises(Tampered, match="does not come next"):
        copy.put(msgspec.structs.replace(records[4], seq=7))
    copy.close()
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "j").read_bytes()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first = journal(tmp_path / "j")
    with pytest.raises(Refused, match="another process"):
        journal(tmp_path / "j")
    first.close()
    journal(tmp_path / "j").close()


def test_a_stale_epoch_writes_nothing(tmp_path: Path) -> None:
    now = [1]
    book = journal(tmp_path / "j", epoch=1, epoch_now=lambda: now[0])
    book.append([Entry(event=Event.RUN_OPENED)])
    now[0] = 2
    with pytest.raises(Superseded, match="epoch 2"):
        book.append([Entry(event=Event.EFFECT_STARTED, step="s")])
    with pytest.raises(Superseded):
        book.check_epoch()
    book.close()
    assert len(read_journal(tmp_path / "j", FIRST)) == 1


def append_until_full(path: Path, limit: int, conn: object) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    book = journal(path)
    message = ""
    try:
        for _ in range(1000):
            book.append([Entry(event=Event.STEP_STARTED, step="s"), Entry(event=Event.EFFECT_STARTED, step="s")])
    except JournalFailed as error:
        message = f"{error.message} | {error.hint}"
    conn.send((message, book.last_seq))  # type: ignore[attr-defined]
    os._exit(0)


@pytest.mark.parametrize("limit", [1500, 4096, 5001])
def test_a_full_disk_leaves_whole_records_and_a_clear_error(tmp_path: Path, limit: int) -> None:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=append_until_full, args=(tmp_path / "j", limit, theirs))
    child.start()
    assert ours.poll(20)
    message, last = ours.recv()
    child.join(10)
    assert "cannot be written" in message
    assert "free space" in message
    records = read_journal(tmp_path / "j", FIRST)
    assert len(records) == last + 1
    assert (tmp_path / "j").read_bytes().endswith(b"\n")
    book = journal(tmp_path / "j")
    book.append([Entry(event=Event.RUN_RESUMED)])
    book.close()
    assert len(read_journal(tmp_path / "j", FIRST)) == last + 2


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match="cannot open"):
        journal(tmp_path / "nowhere" / "j")


def test_the_type_of_a_record_is_what_is_on_disk(tmp_path: Path) -> None:
    line = filled(tmp_path / "j", 1).splitlines()[0]
    assert msgspec.json.encode(msgspec.json.decode(line, type=Record)) == line
