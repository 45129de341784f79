"""The team's state store of the lab, as its users know it: `state.json` beside `endpoints.json`.

It is no system of the estate: no plan moves it, `drctl takeover` does. `kill-centre a` kills its instance in A like
everything else there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from orchestrator.lab import layout, state
from orchestrator.lab.state import LabState
from orchestrator.model.topology import Frozen


class StateStore(Frozen):
    """The file's content."""

    url: str
    """As the operator reaches it, for `--state`."""
    seen_from: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Centre -> URL as a controller or worker in that centre reaches it, through the relays."""


def url(lab: LabState, viewer: str = "") -> str:
    """The store's URL as seen from a centre; empty: as the operator sees it."""
    hosts = ",".join(
        lab.address(p.id if viewer in ("", p.centre) else layout.route(viewer, p.id)) for p in layout.state_store()
    )
    centres = ",".join(p.centre for p in layout.state_store())
    return f"postgresql://{layout.SUPERUSER}@{hosts}/{layout.DATABASE}?centres={centres}"


def write(lab_dir: Path, lab: LabState) -> None:
    """Write the file in one move."""
    told = StateStore(url=url(lab), seen_from={c: url(lab, c) for c in layout.CENTRES})
    state.write_file(lab_dir / state.STATE_STORE, msgspec.json.format(msgspec.json.encode(told), indent=2))
