"""A runbook: the steps of one scenario as templates, which the planner fits to the systems as they stand. Pure.

Leaves out: how it is read (runbooks.py), and what the selectors come to (planning/selectors.py).
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.model.plan import Fact, Mode, Phase, ScenarioKind, Verb
from orchestrator.model.topology import Frozen, Setting, Text


class Selector(StrEnum):
    """Which instances a template is for, goes towards, or asks about.

    Those marked (relative) speak of the step's own instance; all others of its system.
    """

    ESTATE = "estate"
    """Nothing in particular: one step for the whole plan."""
    SYSTEM = "system"
    """Nothing in particular: one step for each system."""
    NOBODY = "nobody"
    """No instance at all (towards)."""
    SELF = "self"
    """(relative) The step's own instance."""
    UPSTREAM = "upstream"
    """(relative) What it receives from (database) or calls (app) when the plan is made."""
    HOME_SOURCE = "home-source"
    """(relative) What a copy receives from when the plan is done."""
    ROUTES_NOW = "routes-now"
    """(relative) Where an entry sends users when the plan is made."""
    OLD_PRIMARY = "old-primary"
    """The primary that is replaced; none where the primary stays."""
    CANDIDATE = "candidate"
    """The copy that becomes primary; none where the primary stays."""
    NEW_PRIMARY = "new-primary"
    """The primary when the plan is done, moved or not."""
    SYNC_STANDBYS = "sync-standbys"
    """Surviving copies whose acknowledgement the old primary waits for, and the candidate."""
    LOST_COPIES = "lost-copies"
    """Copies in the lost centres, an old primary among them."""
    LOST_SYNC_STANDBYS = "lost-sync-standbys"
    """Lost copies whose acknowledgement a surviving primary waits for."""
    CUT_OFF_COPIES = "cut-off-copies"
    """Surviving copies that received from a lost one, where the primary stays."""
    DISPLACED_COPIES = "displaced-copies"
    """Surviving copies that cannot simply go on where the primary moves: they may have run ahead of the new one."""
    BYSTANDER_COPIES = "bystander-copies"
    """Those of `displaced-copies` through which the candidate does not receive."""
    REWIRED_COPIES = "rewired-copies"
    """Copies that receive, once back, from another than they should at the end."""
    MISSING_COPIES = "missing-copies"
    """Copies that do not stream when the plan is made."""
    COPIES = "copies"
    """Every copy that is not the new primary."""
    SYNC_COPIES = "sync-copies"
    """Those of `copies` whose acknowledgement is waited for at the end."""
    ASYNC_COPIES = "async-copies"
    """Those of `copies` that follow later."""
    STANDBY_AT_TARGET = "standby-at-target"
    """The copy in the target centre, where it is no primary."""
    SERVING_APPS = "serving-apps"
    """Apps that serve users as soon as the primary is there."""
    WAKING_APPS = "waking-apps"
    """Those of `serving-apps` that did not serve before: they may have to be started."""
    FINAL_APPS = "final-apps"
    """Apps that serve users when the plan is done."""
    RETURNING_APPS = "returning-apps"
    """Those of `final-apps` that stood in a lost centre."""
    RETIRED_APPS = "retired-apps"
    """Apps that served or stood in a lost centre, and serve no more."""
    ENTRIES = "entries"
    """Surviving entries."""
    MOVED_ENTRIES = "moved-entries"
    """Surviving entries that send users elsewhere during the plan than before it."""
    RESTORED_ENTRIES = "restored-entries"
    """Entries that send users to more at the end than as soon as the primary is there."""


class When(StrEnum):
    """When a template takes part; all that it lists must hold."""

    FAULT = "fault"
    """The drill injects a fault."""
    NO_FAULT = "no-fault"
    PRIMARY_MOVES = "primary-moves"
    PRIMARY_STAYS = "primary-stays"
    ZERO_LOSS = "zero-loss"
    """The candidate is proven to hold everything acknowledged."""
    LOSS_ACCEPTED = "loss-accepted"
    """It is not proven, and the request accepts the loss."""
    IN_REACH = "in-reach"
    """Nobody attests that the instance's centre is off: a fence must be seen to hold."""
    ATTESTED_OFF = "attested-off"
    """Two people attest that the instance's centre is off, and stays so until drctl has fenced it."""


class GateName(StrEnum):
    """What must hold of the estate before anything is touched; see planning/gates.py."""

    CANDIDATE_READY = "candidate-ready"
    """Every copy that is to become primary answers and is a standby."""
    LOST_IS_GONE = "lost-is-gone"
    """No lost centre holds a healthy primary or a streaming copy (live, unless the drill injects the fault)."""
    FAULT_FITS = "fault-fits"
    """The drill's fault really takes the lost centres away."""
    ATTESTED_IS_SILENT = "attested-is-silent"
    """Nothing answers in a centre that people attest to be off (unless the drill's fault will take it away)."""
    LOSS_ACCEPTED = "loss-accepted"
    """Every promotion is proven to lose nothing, or the request accepts the loss."""
    REPLICATION_HEALTHY = "replication-healthy"
    """Every copy streams, what should be sync is sync, and lag is below what is declared."""
    THREE_COPIES = "three-copies"
    """Every declared copy exists and streams."""
    PRIMARY_ANSWERS = "primary-answers"
    """The primary that is to hand over (or to be copied from) answers and is writable."""


class LostRule(StrEnum):
    """How many centres `--lost` must name."""

    NONE = "none"
    CENTRE = "centre"
    """At least one, and not a whole city with more than one centre."""
    SITE = "site"
    """Every centre of some city."""


class TargetRule(StrEnum):
    """Where primaries go."""

    NONE = "none"
    """Nowhere: the scenario moves no primary."""
    SURVIVOR = "survivor"
    """A surviving centre: `--to`, or the one that serves most systems best."""
    NAMED = "named"
    """`--to`, which must be given."""
    HOME = "home"
    """Each to its declared centre; `--to` picks those that come home to one centre."""
    REMOTE = "remote"
    """`--to`, or the centre with the role `remote`."""


class SystemRule(StrEnum):
    """Which systems take part where `--system` names none."""

    AFFECTED = "affected"
    NAMED = "named"
    """`--system` must be given."""


class Scope(Frozen, kw_only=True):
    """What a scenario is about."""

    lost: LostRule
    target: TargetRule
    systems: SystemRule = SystemRule.AFFECTED
    modes: tuple[Mode, ...]
    """How it may be carried out; the first is the one that `drctl plan` takes by itself."""


class ConditionTemplate(Frozen, kw_only=True):
    """A fact about the instances of a selector."""

    fact: Fact
    of: Selector
    others: Selector = Selector.NOBODY


class UndoTemplate(Frozen, kw_only=True):
    """The way back of a step, on the step's own instance."""

    verb: Verb
    towards: Selector = Selector.NOBODY
    params: tuple[Setting, ...] = ()


class StepTemplate(Frozen, kw_only=True):
    """A step as the runbook states it, before it is fitted to instances."""

    id: str
    verb: Verb
    subject: Selector
    """One step is made for each instance of it."""
    towards: Selector = Selector.NOBODY
    when: tuple[When, ...] = ()
    after: tuple[str, ...] = ()
    """Template ids; `dependencies.x`: x of the systems that this one depends on; `source.x`: x of `towards`."""
    phase: Phase
    gates: tuple[ConditionTemplate, ...] = ()
    verify: tuple[ConditionTemplate, ...] = ()
    undo: UndoTemplate | None = None
    params: tuple[Setting, ...] = ()
    """Values may hold {mode}, {kind}, {centre}, {service}, {system}, {instance}, {towards}, {fault}."""
    timeout_s: float = 60.0
    text: Text


class Runbook(Frozen, kw_only=True):
    """One scenario."""

    id: str
    kind: ScenarioKind
    name: Text
    summary: Text
    scope: Scope
    gates: tuple[GateName, ...]
    """Never empty: no gate at all is a mistake, not a pass."""
    steps: tuple[StepTemplate, ...]
    verify: tuple[ConditionTemplate, ...]
    """What must hold of every system at the end; never empty."""
