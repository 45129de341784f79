"""What the use cases work with: the estate, and the means that `app` chose; how it is looked at and remembered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.checks.conditions import remember
from orchestrator.diskfile import read, write
from orchestrator.errors import BadFile, Refused, Usage, guess
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import TOUCHING, Plan
from orchestrator.model.topology import Topology

if TYPE_CHECKING:
    from orchestrator.carry import Injector
    from orchestrator.conclusion import CanaryRows
    from orchestrator.execution.runstore import Run
    from orchestrator.model.request import Timings
    from orchestrator.providers.base import Actor, Prober
    from orchestrator.team.member import Member
    from orchestrator.team.observers import Watch
    from orchestrator.verification.readers import Readers

OBSERVE_WITHIN_S = 2.0
"""Bound of one look; a dead centre costs this once, for all its instances at the same time."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the use cases work with: the estate, and the means that `app` chose."""

    topology: Topology
    topology_sha256: str
    estate: Path
    runbooks: Path
    playbooks: Path
    home: Path
    lab_dir: Path
    state: str
    lang: str
    probers: Mapping[str, Prober]
    actors: Mapping[str, Actor]
    recorders: Mapping[str, Actor]
    """Actors of a rehearsal: they write down, and have no way to a real one."""
    readers: Readers
    canary_rows: CanaryRows
    injector: Injector | None
    centre: str = ""
    """Where this controller stands; empty: not said."""
    witness: tuple[str, ...] = ()
    """URLs of the witness' members; empty: there is none."""

    def member(self, run: Run | None = None, plan: Plan | None = None) -> Member | None:
        """This home's part in the team that `--state` names; None where it is alone, or nothing is touched.

        Raises:
            Refused: a team's store holds the run, and `--state` names none.
        """
        from orchestrator.team.address import is_team, parse
        from orchestrator.team.eye import StoreEye
        from orchestrator.team.member import Member, controller, is_shared
        from orchestrator.team.revival import declared

        asked = plan or (run.plan if run else None)
        if asked is None or asked.mode not in TOUCHING:
            return None
        if is_team(self.state):
            address, me = parse(self.state), controller(self.home, self.centre)
            revive = declared(address, self.probers, self.actors, asked.lost) if asked.lost else None
            return Member(address, me, look=StoreEye(address, self.probers), revive=revive)
        if run is not None and is_shared(run) and self.state != "sqlite":
            raise Refused(
                f"run {run.id} is held by a team's state store, and --state names none",
                hint="give --state postgresql://…; `--state sqlite` goes on without the team, at your own word",
            )
        return None

    def watch(self) -> Watch | None:
        """Who observes the estate, by the team that `--state` names; None where there is no team."""
        from orchestrator.team.address import is_team, parse
        from orchestrator.team.observers import Watch
        from orchestrator.team.witness import Witness

        if not is_team(self.state):
            return None
        witness = Witness(self.witness, self.topology.id) if self.witness else None
        return Watch(parse(self.state), self.centre, self.topology, self.probers, witness)

    async def observe(self, instances: Collection[str] | None = None, within_s: float = OBSERVE_WITHIN_S) -> Snapshot:
        """Look at every instance (or at some) at once; what a look at all saw is remembered."""
        from orchestrator.observer import observe

        snapshot = await observe(self.topology, self.probers, instances, within_s)
        if instances is None:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write(self._memory, remember(self.remembered(), snapshot))
        return snapshot

    @property
    def _memory(self) -> Path:
        """Of this very topology, addresses included: what another lab showed proves nothing of this one."""
        return self.home / "observations" / f"{self.topology_sha256[:16]}.json"

    def remembered(self) -> Snapshot | None:
        """Each instance as it last answered: of a centre that is dark now, the proof of its sync chain."""
        try:
            return read(self._memory, Snapshot)
        except BadFile:
            return None

    def timings(self) -> Timings:
        """Forecasts of how long actions take: as measured in past runs, else by default."""
        from orchestrator.model.request import Timings
        from orchestrator.pastruns import history

        return Timings().with_history(history(self.home, self.topology.id))


def refuse_alone(context: Context, what: str) -> None:
    """Refuse what needs a team's store and a place to stand in.

    Raises:
        Usage: `--state` names no team's store, or `--centre` no centre.
    """
    from orchestrator.team.address import is_team

    if not is_team(context.state):
        raise Usage(
            f"{what} needs the team's state store",
            hint="--state postgresql://USER@HOST:PORT,…/DATABASE?centres=a,b,c (or DRCTL_STATE)",
        )
    if not context.centre:
        raise Usage(f"{what} must know where it stands", hint="--centre b (or DRCTL_CENTRE)")
    if context.centre not in context.topology.centre_by_id:
        hint = guess(context.centre, context.topology.centre_by_id)
        raise Usage(f"the topology holds no centre {context.centre!r}", hint=hint)
