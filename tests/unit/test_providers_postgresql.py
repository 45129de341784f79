"""The pure parts of the PostgreSQL provider: settings, addresses, histories, and errors as reach."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.observation import Reach
from orchestrator.model.topology import Instance, Nature, Role, Service, Setting, Viewpoint
from orchestrator.providers.postgresql_host import lsn, parted
from orchestrator.providers.postgresql_reading import required
from orchestrator.providers.postgresql_sql import (
    SyncNames,
    centre_of_conninfo,
    conninfo,
    conninfo_value,
    split_address,
    unreached,
)

HISTORY = "1\t0/3000000\tno recovery target specified\n2\t1/10\tno recovery target specified\n"


def instance(centre: str, address: str, **seen_from: str) -> Instance:
    return Instance(
        id=f"s/db@{centre}",
        service="s/db",
        centre=centre,
        role=Role.PRIMARY if centre == "a" else Role.STANDBY,
        address=address,
        seen_from=tuple(Viewpoint(centre=c, address=a) for c, a in seen_from.items()),
        params=(Setting(name="user", value="repl user"),),
    )


A = instance("a", "10.0.0.1:5432", b="10.9.0.1:6001", c="[fd00::1]:6002")
B = instance("b", "10.0.0.2:5432", c="10.9.0.2:6003")
C = instance("c", "10.0.0.3:5432")
SERVICE = Service(id="s/db", system="s", name="db", kind="postgresql", nature=Nature.REPLICATED, instances=(A, B, C))


@pytest.mark.parametrize(
    ("text", "names", "without_b", "with_c"),
    [
        ("", (), "", "ANY 1 (c)"),
        ("ANY 1 (b)", ("b",), "", "ANY 1 (b, c)"),
        ("any 2 (b, c)", ("b", "c"), "ANY 1 (c)", "ANY 2 (b, c)"),
        ("FIRST 1 (b, a)", ("b", "a"), "FIRST 1 (a)", "FIRST 1 (b, a, c)"),
        ("2 (b, a)", ("b", "a"), "FIRST 1 (a)", "FIRST 2 (b, a, c)"),
        ("b", ("b",), "", "FIRST 1 (b, c)"),
        ('b, "Odd ""one"', ("b", 'Odd "one'), 'FIRST 1 ("Odd ""one")', 'FIRST 1 (b, "Odd ""one", c)'),
        ("*", ("*",), "FIRST 1 (*)", "FIRST 1 (*, c)"),
    ],
)
def test_sync_names(text: str, names: tuple[str, ...], without_b: str, with_c: str) -> None:
    parsed = SyncNames.parse(text)
    assert parsed.names == names
    assert str(parsed.without("b")) == without_b
    assert str(parsed.including("c")) == with_c
    assert parsed.including("c").including("c") == parsed.including("c")


@given(
    st.sampled_from(["ANY", "FIRST"]),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9), min_size=1, max_size=4
    ),
)
def test_sync_names_survive_their_text(method: str, names: list[str]) -> None:
    whole = SyncNames(method=method, count=len(names), names=tuple(names))
    assert SyncNames.parse(str(whole)) == whole


def test_whose_acknowledgement_is_required() -> None:
    assert required("ANY 1 (b)", "on", SERVICE, A) == ("b",)
    assert required("*", "remote_apply", SERVICE, A) == ("b", "c")
    assert required("", "on", SERVICE, A) == ()
    # Commits that wait for no standby: what the names say does not hold.
    assert required("ANY 1 (b)", "local", SERVICE, A) == ()
    assert required("ANY 1 (b)", "off", SERVICE, A) == ()


def test_conninfo_is_by_the_standbys_view_and_read_back() -> None:
    assert conninfo(A, "b") == "host=10.9.0.1 port=6001 user='repl user' application_name=b"
    for source, viewer in ((A, "b"), (A, "c"), (B, "c"), (B, "a")):
        assert centre_of_conninfo(conninfo(source, viewer), SERVICE, viewer) == source.centre
    assert centre_of_conninfo("", SERVICE, "b") == ""
    assert centre_of_conninfo("host=elsewhere port=1", SERVICE, "b") is None
    assert centre_of_conninfo("host='unfinished", SERVICE, "b") is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_conninfo_values_are_quoted_so_that_libpq_reads_them_back(value: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    assert conninfo_to_dict(f"user={conninfo_value(value)} port=1")["user"] == value


def test_addresses_are_split() -> None:
    assert split_address("db.example:5432") == ("db.example", "5432")
    assert split_address("[fd00::1]:5432") == ("fd00::1", "5432")


@pytest.mark.parametrize(
    ("timeline", "position", "off_the_line"),
    [
        (3, "9/0", False),  # the source's own timeline: it may only be behind
        (2, "1/10", False),
        (2, "1/11", True),  # one byte behind the fork
        (1, "0/3000000", False),
        (1, "0/3000001", True),
        (4, "0/1", True),  # a timeline that the source never was on
    ],
)
def test_histories_part_where_a_standby_is_past_the_fork(timeline: int, position: str, off_the_line: bool) -> None:
    assert parted(HISTORY, 3, timeline, lsn(position)) is off_the_line


def test_lsn_is_bytes() -> None:
    assert lsn("0/5000148") == 0x5000148
    assert lsn("16/B374D848") == (0x16 << 32) + 0xB374D848


@pytest.mark.parametrize(
    ("words", "reach", "barred"),
    [
        ('connection to server at "h", port 1 failed: Connection refused', Reach.REFUSED, None),
        ('FATAL:  pg_hba.conf rejects connection for host "127.0.0.1"', Reach.DENIED, True),
        ('FATAL:  no pg_hba.conf entry for host "127.0.0.1"', Reach.DENIED, True),
        ("FATAL:  the database system is starting up", Reach.DENIED, False),
        ("FATAL:  the database system is not yet accepting connections", Reach.DENIED, False),
        ("FATAL:  sorry, too many clients already", Reach.DENIED, False),
        ('FATAL:  password authentication failed for user "x"', Reach.DENIED, False),
        ('FATAL:  database "nope" does not exist', Reach.DENIED, False),
        ("could not translate host name", Reach.UNKNOWN, None),
        ("server closed the connection unexpectedly", Reach.SILENT, None),
        ("connection timeout expired", Reach.SILENT, None),
        ("No route to host", Reach.SILENT, None),
    ],
)
def test_errors_tell_how_a_server_was_met(words: str, reach: Reach, barred: bool | None) -> None:
    met = unreached(psycopg.OperationalError(words))
    assert (met.reach, met.barred) == (reach, barred)
    assert met.error == " ".join(words.split())
