"""Running verification on a real pair, getting between two of its reads, and damaging a replica's heap."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.model.proof import ContentProof, Part, ServiceProof, TableProof
from orchestrator.model.rows import Digest, Form, Span, Table
from orchestrator.model.topology import Instance, Service
from orchestrator.providers.postgresql_rows import PostgresRows
from orchestrator.providers.postgresql_rows_view import PostgresView
from orchestrator.verification.ledger import ledger_of
from orchestrator.verification.options import DEFAULT_PARTS, Options
from orchestrator.verification.service import compare, verify_service
from orchestrator.verification.source import RowSource
from tests.integration.verify_pair import Node, Pair

PAGE = 8192


def prove(
    pair: Pair,
    *parts: Part,
    meddle: Callable[[int], None] | None = None,
    memory: Path | None = None,
    **options: Any,
) -> ServiceProof:
    """`verify_service` on a pair; `meddle` is called with a running number before each digest of the primary."""
    service = pair.service()

    def source(instance: Instance) -> RowSource:
        meddled = meddle is not None and instance.centre == "a"
        return Meddled(service, instance, meddle) if meddled and meddle else PostgresRows(service, instance)

    sources = {i.id: source(i) for i in service.instances}
    ledger = ledger_of(memory, service.id) if memory else None
    return asyncio.run(verify_service(service, sources, _options(parts, options), ledger=ledger))


def _options(parts: tuple[Part, ...], options: dict[str, Any]) -> Options:
    return Options(parts=parts or DEFAULT_PARTS, **options)


def content(pair: Pair, replica: str = "b", **options: Any) -> ContentProof:
    """The content proof of one replica."""
    found = next(r for r in prove(pair, Part.CONTENT, **options).replicas if r.instance.endswith(f"@{replica}"))
    assert found.content is not None
    return found.content


def apart(left: Instance, right: Instance, service: Service, **options: Any) -> ContentProof:
    """Two copies that follow each other no more."""
    return asyncio.run(compare(service, PostgresRows(service, left), PostgresRows(service, right), Options(**options)))


def of(proof: ContentProof, table: str) -> TableProof:
    """The result of one table."""
    return next(t for t in proof.tables if t.table == table)


class Meddled(PostgresRows):
    """The real source; something happens to the world just before each of its digests."""

    def __init__(self, service: Service, instance: Instance, meddle: Callable[[int], None]) -> None:
        super().__init__(service, instance)
        self._meddle = meddle
        self._number = 0

    async def view(self, database: str) -> PostgresView:
        view = await super().view(database)
        original = view.digests

        async def digests(table: Table, form: Form, spans: tuple[Span, ...]) -> tuple[Digest, ...]:
            self._number += 1
            await asyncio.to_thread(self._meddle, self._number)
            return await original(table, form, spans)

        view.digests = digests  # type: ignore[method-assign]
        return view


class Heap:
    """The file of a table at a stopped server, edited as broken storage would."""

    def __init__(self, node: Node, table: str) -> None:
        [[path]] = node.sql(f"SELECT pg_relation_filepath('{table}')")
        self.path: Path = node.data / path

    def flip(self, old: bytes, new: bytes) -> None:
        """Change a value that stands exactly once in the file."""
        assert len(old) == len(new)
        data = self.path.read_bytes()
        assert data.count(old) == 1
        self.path.write_bytes(data.replace(old, new))

    def flip_all(self, old: bytes, new: bytes) -> None:
        """Change a value in every version of its row."""
        assert len(old) == len(new)
        data = self.path.read_bytes()
        assert old in data
        self.path.write_bytes(data.replace(old, new))

    def hide(self, needle: bytes) -> None:
        """Make the one row that holds `needle` dead: its line pointer becomes unused."""
        data = bytearray(self.path.read_bytes())
        page, line, _, _ = next(t for t in self._tuples(data) if needle in t[3])
        struct.pack_into("<I", data, page + 24 + 4 * line, 0)
        self.path.write_bytes(bytes(data))

    def break_tuple(self, needle: bytes) -> None:
        """The one row that holds `needle` says that its data begin behind its end (t_hoff)."""
        data = bytearray(self.path.read_bytes())
        _, _, at, _ = next(t for t in self._tuples(data) if needle in t[3])
        data[at + 22] = 248
        self.path.write_bytes(bytes(data))

    def raise_dead(self, needle: bytes) -> None:
        """Make the one deleted row that holds `needle` live again: nobody deleted it (HEAP_XMAX_INVALID)."""
        data = bytearray(self.path.read_bytes())
        _, _, at, _ = next(t for t in self._tuples(data) if needle in t[3])
        [mask] = struct.unpack_from("<H", data, at + 20)
        struct.pack_into("<H", data, at + 20, (mask & ~0x0400) | 0x0800)
        self.path.write_bytes(bytes(data))

    @staticmethod
    def _tuples(data: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
        """Page offset, line number, tuple offset and bytes of every row version (PostgreSQL manual, 66.6)."""
        for page in range(0, len(data), PAGE):
            [lower] = struct.unpack_from("<H", data, page + 12)
            for line in range((lower - 24) // 4):
                [pointer] = struct.unpack_from("<I", data, page + 24 + 4 * line)
                offset, flags, length = pointer & 0x7FFF, (pointer >> 15) & 3, pointer >> 17
                if flags == 1:
                    yield page, line, page + offset, bytes(data[page + offset : page + offset + length])


def settle_to_disk(pair: Pair, node: Node) -> None:
    """All of the primary's changes are in the standby's files, and it will not replay them again when it starts.

    The primary's rows are read first: the first look at a row leaves a hint, whose page image would repair the replica.
    """
    for (table,) in pair.a.sql("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid > 16383"):
        pair.a.sql(f"SELECT count(*) FROM {table}")
    pair.a.sql("CHECKPOINT")
    pair.catch_up(node)
    node.sql("CHECKPOINT")
