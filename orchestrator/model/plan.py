"""A plan: steps in waves, what each needs, what proves it, and the way back. Pure, frozen, hashable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

import msgspec

from orchestrator.model.topology import Frozen, Setting, Text


class Verb(StrEnum):
    """What a step does. The first ten are the verbs of an Actor; the rest belong to the executor."""

    FENCE = "fence"
    """Host level: stop the instance, refuse its clients, cut its route; it stays so until `unfence` or `rejoin`."""
    UNFENCE = "unfence"
    PROMOTE = "promote"
    DEMOTE = "demote"
    """A primary refuses writes from now on; a sync standby is no longer waited for (acts at its source)."""
    REPOINT = "repoint"
    """Set what the instance receives from (database) or calls (app): `towards[0]`, or nobody where that is empty."""
    REJOIN = "rejoin"
    """Host level: come back as a standby of `towards[0]`; param `mode` = sync makes its acknowledgement required."""
    REDIRECT = "redirect"
    """An entry sends users to the instances in `towards`, and to no other; open sessions are moved."""
    START = "start"
    STOP = "stop"
    RUN_PLAYBOOK = "run_playbook"
    """Param `playbook` names the file under playbooks/; the other params are its variables."""
    CONFIRM = "confirm"
    """Change nothing; wait until the verify conditions hold."""
    ASK = "ask"
    """A person answers a question, with a name."""
    INJECT = "inject"
    """A drill's fault (param `fault`); the lab only."""
    HEAL = "heal"
    """Take the injected fault away; the lab only."""


class Fact(StrEnum):
    """What a condition states of an instance; judged by `checks.conditions.judge`."""

    NOT_SERVING = "not_serving"
    """Does not answer, or answers and is not writable."""
    ANSWERS = "answers"
    WRITABLE_PRIMARY = "writable_primary"
    NOT_WRITABLE = "not_writable"
    """Answered and would not take a write (a silent one does not pass)."""
    STANDBY_OF = "standby_of"
    """Streams as a standby from the centre of `other`."""
    SYNC_STANDBY_OF = "sync_standby_of"
    """STANDBY_OF, and its source waits for its acknowledgement."""
    DETACHED = "detached"
    """A standby that receives from nobody."""
    CANNOT_ACK = "cannot_ack"
    """Fenced, demoted and empty, or provably without its required sync standby (`other`, which is detached)."""
    HOLDS_ALL = "holds_all"
    """Holds everything that `other` acknowledged (position inclusion)."""
    FENCED = "fenced"
    """A fence of this run holds: nobody listens there, or it denies its clients."""
    NO_SYNC_WAIT = "no_sync_wait"
    """A primary that waits for no absent standby."""
    CALLS = "calls"
    """An app that calls the centre of `other`."""
    ROUTED_TO = "routed_to"
    """An entry that sends users to `others` and nowhere else."""
    SERVES_USERS = "serves_users"
    """An app or entry that gave a right answer end to end, a write included where the kind can."""


class Condition(Frozen, kw_only=True):
    """One statement about an instance that must hold."""

    fact: Fact
    instance: str
    others: tuple[str, ...] = ()
    """Instances that the fact relates to."""


class Phase(StrEnum):
    """The part of the RTO that a step's time counts towards; `protect` comes after users are served."""

    PREPARE = "prepare"
    DETECT = "detect"
    DECIDE = "decide"
    FENCE = "fence"
    PROMOTE = "promote"
    REDIRECT = "redirect"
    VERIFY = "verify"
    PROTECT = "protect"


APPROVERS = 2
"""So many different people consent where one is not enough."""
USERS_FIRST_S = 20.0
"""Protection waits so long, counted from when it could begin, for users who are not served yet."""


def is_repeatable(verb: Verb, idempotent: str) -> bool:
    """Whether an action may run twice: every verb of an actor by contract; a playbook only where its param says so."""
    return verb is not Verb.RUN_PLAYBOOK or idempotent.casefold() in {"true", "yes", "1"}


class Undo(Frozen, kw_only=True):
    """The way back of a step."""

    verb: Verb
    instance: str
    towards: tuple[str, ...] = ()
    params: tuple[Setting, ...] = ()


class Step(Frozen, kw_only=True):
    """One effect on one instance (or on a system, for ASK and RUN_PLAYBOOK)."""

    id: str
    """Unique in the plan: `legal-person/db@b:promote`."""
    verb: Verb
    text: Text
    system: str
    service: str = ""
    instance: str = ""
    towards: tuple[str, ...] = ()
    params: tuple[Setting, ...] = ()
    needs: tuple[str, ...] = ()
    """Ids of steps that must be done before."""
    gates: tuple[Condition, ...] = ()
    """Re-probed inside the step just before the effect; only PASS opens."""
    verify: tuple[Condition, ...] = ()
    """Waited for after the effect, within `timeout_s`."""
    undo: Undo | None = None
    phase: Phase
    wave: int
    """0-based; steps of one wave may run at once."""
    critical: bool = False
    """On the critical path."""
    timeout_s: float = 60.0
    forecast_s: float = 0.0

    def param(self, name: str, default: str = "") -> str:
        """The value of a parameter, or `default`."""
        return next((s.value for s in self.params if s.name == name), default)

    @property
    def repeatable(self) -> bool:
        """See `is_repeatable`."""
        return is_repeatable(self.verb, self.param("idempotent"))


class ScenarioKind(StrEnum):
    """What sort of move a scenario is."""

    FAILOVER = "failover"
    SWITCHOVER = "switchover"
    FAILBACK = "failback"
    EXERCISE = "exercise"
    """Changes nothing in production (isolated)."""


class Mode(StrEnum):
    """How a plan is carried out."""

    TABLETOP = "tabletop"
    REHEARSAL = "rehearsal"
    ISOLATED = "isolated"
    LIVE = "live"


EXERCISES = frozenset({Mode.TABLETOP, Mode.REHEARSAL})
"""Modes that change nothing."""
TOUCHING = frozenset(Mode) - EXERCISES


class Loss(Frozen, kw_only=True):
    """What a promotion may lose, judged before it."""

    service: str
    proven_zero: bool
    seconds: float | None
    """Upper estimate in seconds; None where it cannot be told."""
    reason: Text
    budget_s: float
    """The system's declared RPO for this extent of loss."""


class Plan(Frozen, kw_only=True, dict=True):
    """Everything that will be done, in which order, and on what grounds."""

    scenario: str
    kind: ScenarioKind
    mode: Mode
    estate: str
    lab: bool
    topology_sha256: str
    created_at: str
    """UTC, RFC 3339."""
    lost: tuple[str, ...]
    """Centres taken as lost."""
    attested: tuple[str, ...] = ()
    """Those of them that two people must attest to be off; see checks.promotion, ground 6."""
    target: str
    """Centre that takes over."""
    systems: tuple[str, ...]
    steps: tuple[Step, ...]
    """In topological order."""
    losses: tuple[Loss, ...] = ()
    forecast_rto_s: float
    """Until users are served again."""
    forecast_total_s: float
    """Until protection is restored."""
    fault: str = ""
    """Fault that the drill injects, for example `kill-centre a`; empty for none."""
    version: str
    """Version of the plan interpreter."""

    @cached_property
    def sha256(self) -> str:
        """Hash over the canonical form; approvals are bound to it. A plan read back from its file has the same."""
        as_filed = msgspec.json.decode(msgspec.json.encode(self), type=Plan)  # 30 in a float's place becomes 30.0
        return hashlib.sha256(msgspec.json.encode(as_filed, order="deterministic")).hexdigest()

    @cached_property
    def step_by_id(self) -> Mapping[str, Step]:
        return {s.id: s for s in self.steps}

    @property
    def loses_data(self) -> bool:
        """Whether some promotion is not proven to lose nothing."""
        return any(not loss.proven_zero for loss in self.losses)

    @property
    def needs_two(self) -> bool:
        """Whether two named people must consent before it is carried out."""
        if self.mode not in TOUCHING:
            return False
        return self.loses_data or bool(self.attested) or (self.mode is Mode.LIVE and not self.lab)


class Approval(Frozen, kw_only=True):
    """A named person's consent, bound to one plan by its hash."""

    plan_sha256: str
    name: str
    at: str
    """UTC, RFC 3339."""
    accepts_loss: bool = False
    attests: bool = False
    """The plan's `attested` centres are off, and stay so until drctl has fenced what is in them."""
