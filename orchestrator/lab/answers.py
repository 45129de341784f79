"""What the lab's app is started with, is told and answers; apart from it, so that reading an answer loads no server."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """The bucket that a system's objects lie in."""

    bucket: str
    zones: Mapping[str, str]
    """Centre → host:port of its gateway."""
    keys: tuple[str, str]
    """Access key and secret."""


class AppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an app process is started with."""

    system: str
    centre: str
    host: str
    port: int
    folder: str
    dependencies: Mapping[str, str] = msgspec.field(default_factory=dict)
    """URL of the entry of each system that it depends on."""
    files: Files | None = None
    """Where each record's object is stored, before the row that names it."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The database that the app is told to call; kept over a restart."""

    centre: str
    address: str
    epoch: int


class Record(msgspec.Struct, frozen=True):
    """A record as a client sends it."""

    value: str
    entry: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the app says of itself."""

    system: str
    centre: str
    upstream: str
    """Centre of the database that it calls; empty for none."""
    epoch: int
    writable: bool
    serving: bool
