"""One connection to the team's store whose every call ends within its bound, and the search for the store's primary.

Blocking, for use in threads. A call is bounded by a timer that breaks its socket: a frozen server answers neither a
statement_timeout nor a cancel, and a commit that waits for its synchronous standby heeds no statement_timeout at all.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Unreadable
from orchestrator.model.topology import Frozen
from orchestrator.team.address import Host, StoreAddress

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 2.0
_LOOK = """
select pg_is_in_recovery(),
       case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint())
            else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end,
       current_setting('default_transaction_read_only') = 'on'
"""


class StoreAway(Unreadable):
    """The store did not confirm; whether it did what it was asked is not known."""


class Line:
    """A connection in autocommit mode; commits wait for the synchronous standby."""

    def __init__(self, dsn: str, name: str, within_s: float = CONNECT_S) -> None:
        """Connect.

        Raises:
            StoreAway: it cannot be reached within `within_s` seconds.
        """
        import psycopg

        self._warned: list[str] = []
        try:
            self._connection: psycopg.Connection[Any] = psycopg.connect(
                dsn, autocommit=True, application_name=name, connect_timeout=max(2, round(within_s)),
                options="-c synchronous_commit=on -c client_min_messages=warning",
            )  # fmt: skip
        except (psycopg.Error, OSError) as error:
            raise StoreAway(_words(error)) from error
        self._connection.add_notice_handler(lambda notice: self._warned.append(notice.message_primary or "a warning"))

    def rows(self, sql: str, values: Sequence[object] | dict[str, object] = (), within_s: float = 2.0) -> list[Any]:
        """All rows of one statement, which is a transaction of its own.

        Raises:
            StoreAway: no answer in time, or the standby's confirmation did not come.
        """
        with self.bounded(within_s) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def transaction(self, within_s: float = 2.0) -> Iterator[psycopg.Connection[Any]]:
        """Several statements that take effect together, or not at all; raises as `rows`."""
        with self.bounded(within_s) as connection, connection.transaction():
            yield connection

    @contextlib.contextmanager
    def bounded(self, within_s: float) -> Iterator[psycopg.Connection[Any]]:
        """The connection, broken when the time is over. A call that ended in a warning counts as not confirmed."""
        import psycopg

        self._warned.clear()
        axe = threading.Timer(within_s, self.sever)
        axe.daemon = True
        axe.start()
        try:
            yield self._connection
        except (psycopg.Error, OSError) as error:
            raise StoreAway(_words(error)) from error
        finally:
            axe.cancel()
        if self._warned:
            raise StoreAway(f"not confirmed by another centre: {self._warned[0]}")

    def sever(self) -> None:
        """Break the socket: whoever waits for an answer gets an error at once."""
        with contextlib.suppress(Exception), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it without a good-bye, for which a frozen server would let us wait."""
        with contextlib.suppress(Exception):
            self._connection.pgconn.finish()


def _words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class Seen(Frozen, kw_only=True):
    """One server of the store as it was met."""

    host: Host
    error: str = ""
    standby: bool = False
    writable: bool = False
    timeline: int = 0


def look(address: StoreAddress, within_s: float = CONNECT_S) -> tuple[Seen, ...]:
    """Ask every server at once what it is; in the order of the address."""
    with ThreadPoolExecutor(max_workers=len(address.hosts)) as pool:
        return tuple(pool.map(lambda host: _ask(address, host, within_s), address.hosts))


def _ask(address: StoreAddress, host: Host, within_s: float) -> Seen:
    try:
        line = Line(address.dsn(host), "drctl", within_s)
    except StoreAway as error:
        return Seen(host=host, error=error.message)
    try:
        standby, timeline, read_only = line.rows(_LOOK, within_s=within_s)[0]
    except StoreAway as error:
        return Seen(host=host, error=error.message)
    finally:
        line.close()
    return Seen(host=host, standby=standby, writable=not standby and not read_only, timeline=timeline)


def primary_of(seen: Sequence[Seen]) -> Host | None:
    """The writable server of the latest timeline: a former primary that woke up still claims to be one."""
    writable = [s for s in seen if s.writable]
    newest = max((s.timeline for s in seen if not s.error), default=0)
    found = max(writable, key=lambda s: s.timeline, default=None)
    return found.host if found and found.timeline >= newest else None


def connect_primary(address: StoreAddress, name: str, within_s: float = CONNECT_S) -> tuple[Line, Host]:
    """A connection to the store's primary, and which server it is.

    Raises:
        StoreAway: no server is one; the message says what each answered.
    """
    seen = look(address, within_s)
    host = primary_of(seen)
    if host is None:
        told = "; ".join(
            f"{s.host.address}: {s.error or ('standby' if s.standby else 'not the newest primary')}" for s in seen
        )
        raise StoreAway(f"the state store has no writable server ({told})")
    return Line(address.dsn(host), name, within_s), host
