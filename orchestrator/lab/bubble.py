"""The lab's app inside a bubble: `python -m orchestrator.lab.bubble SYSTEM CENTRE`, in the folder that it may use.

Reads DRCTL_BUBBLE_PORT (its own port) and DRCTL_BUBBLE_DATABASE (host:port of the clone); calls nothing else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from orchestrator.lab import layout
from orchestrator.lab.answers import AppConfig, Target
from orchestrator.lab.webapp import become


def main(system: str, centre: str) -> None:
    """Be the app; without dependencies, for a bubble reaches no other system."""
    folder = Path.cwd()
    target = Target(centre=centre, address=os.environ["DRCTL_BUBBLE_DATABASE"], epoch=0)
    (folder / "upstream.json").write_bytes(msgspec.json.encode(target))
    port = int(os.environ["DRCTL_BUBBLE_PORT"])
    become(AppConfig(system=system, centre=centre, host=layout.HOST, port=port, folder=str(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
