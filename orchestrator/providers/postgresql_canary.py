"""The canary's rows as a PostgreSQL database holds them, to be held against the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import psycopg

from orchestrator.errors import Unreadable
from orchestrator.model.topology import Instance, Service

_SQL = "SELECT id, value FROM drctl_canary WHERE starts_with(id, %s)"


async def canary_rows(service: Service, instance: Instance, prefix: str, within_s: float = 60.0) -> Mapping[str, str]:
    """Id → value of every canary row whose id begins with `prefix`.

    Raises:
        Unreadable: the database did not give them within `within_s` seconds.
    """
    host, _, port = instance.address.rpartition(":")
    user = instance.param("user", service.param("user", "postgres"))
    database = instance.param("database", service.param("database", "app"))
    try:
        async with asyncio.timeout(within_s):
            connection = await psycopg.AsyncConnection.connect(
                host=host, port=port, user=user, dbname=database, application_name="drctl", autocommit=True
            )
            async with connection:
                cursor = await connection.execute(_SQL, (prefix,))
                return dict(await cursor.fetchall())
    except (psycopg.Error, OSError, TimeoutError) as error:
        raise Unreadable(f"{instance.id}: the canary's rows cannot be read: {error}") from error
