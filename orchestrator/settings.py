"""The words before a command: which estate, where state lives, which language."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every command is given."""

    estate: str
    home: Path
    lab_dir: Path
    state: str
    lang: str
    centre: str = ""
    """Where this command runs; empty: not said."""
    witness: tuple[str, ...] = ()
    """URLs of the members of the witness, an etcd; empty: there is none."""
