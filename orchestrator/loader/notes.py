"""What a valid topology allows and is yet worth a thought."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model.topology import Text, Topology
from orchestrator.yamltypes import spell


def notes(topology: Topology) -> tuple[Text, ...]:
    """Remarks for the operator, most important first; none of them makes the file wrong."""
    return (*_impatient(topology), *_placeholders(topology))


def _impatient(topology: Topology) -> Iterator[Text]:
    """Systems that promise to be back before what they depend on: one line per extent of loss and first pair."""
    for key, name in (("centre_loss", "centre"), ("site_loss", "city")):
        pairs = []
        for system in topology.systems:
            own = getattr(system, key).rto_s
            others = [topology.system_by_id[other] for other in system.depends_on]
            slow = max(others, key=lambda other: float(getattr(other, key).rto_s), default=system)
            if getattr(slow, key).rto_s > own:
                pairs.append((system, slow, own, getattr(slow, key).rto_s))
        if pairs:
            system, slow, own, longer = pairs[0]
            more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
            yield Text(
                en=f"{system.id} promises an RTO of {spell(own)} at {name} loss, and depends on {slow.id}, "
                f"which promises {spell(longer)}{more}",
                zh=f"{system.id} 的 RTO 目标为 {spell(own)}（{key}），但其依赖的 {slow.id} 为 {spell(longer)}{more}",
            )


def _placeholders(topology: Topology) -> Iterator[Text]:
    waiting = [s.id for s in topology.systems if s.filing.startswith("PLACEHOLDER")]
    if waiting and not topology.lab:
        yield Text(
            en=f"{len(waiting)} systems have no filing number yet, such as {waiting[0]}",
            zh=f"{len(waiting)} 个系统尚无备案号，例如 {waiting[0]}",
        )
