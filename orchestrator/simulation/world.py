"""The world: one control plane, concrete data, links, and what goes wrong with them; judged after every change.

What happens is written into `trace`; what must never happen into `violations`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context

import msgspec

from orchestrator.machine import looks
from orchestrator.machine.faults import Fault, parse
from orchestrator.machine.table import ACTIONS, Act
from orchestrator.machine.world import HERE, Power, connected
from orchestrator.model.observation import Downstream, Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Topology
from orchestrator.simulation.chance import Chance, spread
from orchestrator.simulation.data import BYTES, Logs
from orchestrator.simulation.loop import VirtualLoop
from orchestrator.simulation.states import State, States

RATES = (50, 200, 1000)
LANDINGS_S = 40.0
"""How late an action may land of which the answer is lost."""
LAGS_S = (0.0, 0.0, 0.5, 5.0)
"""What a later copy is behind, beside the way to it."""
LOOK_S = 2.5
"""The look at a gate that leads to an action is at most so old when the order is sent."""
LIE_S = 60.0
"""A lying probe shows what was at most so long ago."""
PARKED = 0.7
"""Chance that an order that reached a frozen instance is carried out when it wakes up."""


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """An action under way."""

    act: Act
    step: str
    accepted: bool
    """A loss was accepted for it."""
    by: int
    """Process that ordered it."""
    sent_s: float


class Trouble:
    """What is wrong with the means just now."""

    def __init__(self) -> None:
        self.lossy: dict[str, float] = {}
        """Centre → share of packets lost on the way to it."""
        self.lying: dict[str, tuple[State, dict[str, dict[str, int]]]] = {}
        """Centre → the state that its probes go on showing, with positions."""
        self.lied = False
        """Some probe has lied in this run."""
        self.slow: dict[str, float] = {}
        """Centre → how many times slower everything is there."""
        self.next_is_late = False
        """The next order lies somewhere on its way."""
        self.lost_answers = 0.0
        """Share of actions of which nothing more is heard; half of them take effect, now or late."""


class SimWorld:
    """Everything outside of the program."""

    def __init__(self, loop: VirtualLoop, states: States, chance: Chance, begin: State) -> None:
        self.loop, self.chance, self.state = loop, chance, begin
        self._own = copy_context()  # what is under way outside goes on while a process is frozen
        self.topology: Topology = states.ground.topology
        self._ground = states.ground
        self.trouble = Trouble()
        self.trace: list[tuple[float, str]] = []
        self.violations: list[tuple[str, str]] = []
        self.reached: dict[tuple[str, str], int] = {}
        """(what, under which fault) → how often."""
        self.landed = 0
        """Actions that took effect."""
        self.faulted_s = -1.0
        """When the world last did something by itself."""
        self.looked_s: dict[str, float] = {}
        """Step → when the looks began that its action rests on, where that is known."""
        self.tampered = False
        """Somebody has changed something by hand."""
        self.in_force: list[Fault] = []
        self._past: list[tuple[float, State]] = [(0.0, begin)]
        self._parked: dict[str, list[tuple[Ordered, Callable[[str], None]]]] = {}
        self._late = 0
        """Orders of which nobody knows where they are."""
        self._delays = self._links()
        rate = chance.of("clients").choice(RATES)
        self.logs = {s: Logs(self._ground.family[s], self._leader(s), rate, self._delays) for s in self._ground.data}

    def _links(self) -> dict[tuple[str, str], float]:
        source = self.chance.of("links")
        metro, far = source.uniform(0.0005, 0.003), source.uniform(0.01, 0.05) + source.choice(LAGS_S)
        centres = list(self.topology.centre_by_id)
        near = self.topology.same_site
        return {(x, y): metro if near(x, y) else far for x in centres for y in centres if x != y}

    def _leader(self, service: str) -> str:
        nodes = [self.state.world.nodes[n] for n in self._ground.family[service].values()]
        return max(nodes, key=lambda n: (n.role.value == "primary", n.timeline)).centre

    @property
    def now_s(self) -> float:
        """Virtual time."""
        return self.loop.time()

    def later(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        """Let something happen outside, whatever becomes of the process that is at work now."""
        self.loop.call_at(self.loop.time() + delay_s, call, *args, context=self._own)

    def note(self, text: str) -> None:
        """Write down what happened."""
        self.trace.append((self.loop.time(), text))

    def violate(self, rule: str, text: str) -> None:
        """Write down what must never happen, once."""
        if (rule, text) not in self.violations:
            self.violations.append((rule, text))
            self.note(f"VIOLATION of {rule}: {text}")

    def flow(self) -> None:
        """Let the data catch up with the time; before every change and every look."""
        now = self.loop.time()
        for service, logs in self.logs.items():
            if logs.at_s < now:
                logs.advance(now, self.state.flow(service))
                if logs.wrong:
                    self._data_wrong(service, logs)

    def _data_wrong(self, service: str, logs: Logs) -> None:
        for text in logs.wrong:
            self.violate("acknowledged-writes-stay", f"{service}: {text}")
        logs.wrong.clear()

    def move(self, state: State) -> None:
        """The control plane is in another state from now on."""
        if state is self.state:
            return
        self.flow()
        self.state = state
        self._past.append((self.loop.time(), state))
        for rule, text in state.wrong:
            self.violate(rule, text)

    # Faults

    def strike(self, fault: Fault) -> None:
        """The world does something by itself."""
        self.note(f"fault: {fault}")
        self.faulted_s = self.loop.time()
        self.in_force.append(fault)
        self.move(self.state.struck(fault))
        self._wake()

    def lift(self, fault: Fault) -> None:
        """A fault is gone."""
        if fault in self.in_force:
            self.note(f"gone: {fault}")
            self.faulted_s = self.loop.time()
            self.in_force.remove(fault)
            self.move(self.state.lifted(fault))
            self._wake()

    def inject(self, words: str) -> None:
        """A drill's faults; idempotent."""
        for fault in parse(words):
            self.note(f"injected: {fault}")
            if fault not in self.in_force:
                self.in_force.append(fault)
            self.move(self.state.struck(fault))

    def by_hand(self, old: str, candidate: str) -> None:
        """Somebody undoes by hand what a promotion rests on: the fence of the old primary, or the detachment."""
        if self.trouble.lying or self.trouble.lost_answers or self._late or self._parked:
            return  # whoever does this while our eyes or hands fail, or an order lies on its way, deceives everybody
        self.tampered = True
        self.note(f"fault: by hand, {old} is started and {candidate} attached to it")
        self.faulted_s = self.loop.time()
        self.move(self.state.tampered(old, candidate))

    def stopped_by_hand(self, app: str) -> None:
        """Somebody takes an app away from its database."""
        if not self.trouble.lying:
            self.tampered = True
            self.note(f"fault: by hand, {app} calls nobody any more")
            self.faulted_s = self.loop.time()
            self.move(self.state.tampered(app, ""))

    def heal(self) -> None:
        """Everything is well again; idempotent."""
        self.note("healed")
        self.in_force.clear()
        self.move(self.state.healed())
        self._wake()

    def _wake(self) -> None:
        """Orders that lay at frozen instances are carried out there, or lost."""
        for name in list(self._parked):
            if self.node_power(name) is not Power.FROZEN:
                for ordered, answer in self._parked.pop(name):
                    if self.chance.of("orders").random() < PARKED:
                        self.land(ordered, answer)

    def node_power(self, instance: str) -> Power:
        """Whether an instance runs."""
        return self.state.world.nodes[self._ground.index[instance]].power

    # Probes

    def look(self, instance: str, within_s: float, tell: Callable[[Reading], None]) -> None:
        """One probe of one instance; `tell` is called with its reading, at most `within_s` seconds later."""
        source = self.chance.of("probes")
        centre = self.topology.instance_by_id[instance].centre
        delay_s = self._delay(centre, source.random())
        lossy = self.trouble.lossy.get(centre, 0.0)
        while lossy and delay_s < within_s and source.random() < lossy:
            delay_s += 0.2
        if delay_s >= within_s:
            self.later(within_s, tell, looks.silent(instance))
        else:
            self.later(delay_s, self._met, instance, within_s - delay_s, tell)

    def _delay(self, centre: str, roll: float) -> float:
        return (0.002 + 0.01 * roll * roll) * self.trouble.slow.get(centre, 1.0)

    def _met(self, instance: str, rest_s: float, tell: Callable[[Reading], None]) -> None:
        reading = self.read(instance)
        if reading.reach is Reach.SILENT:
            self.later(rest_s, tell, reading)
        else:
            tell(reading)

    def read(self, instance: str) -> Reading:
        """What a probe sees now, or is told."""
        place = self._ground.index[instance]
        node = self.state.world.nodes[place]
        lie = self.trouble.lying.get(node.centre)
        if lie is not None:
            base = lie[0].reading(place)
            return (
                self._dated(base, node.service, node.centre, lie[1][node.service]) if node.service in lie[1] else base
            )
        base = self.state.reading(place)
        logs = self.logs.get(node.service)
        if logs is None or base.reach is not Reach.ANSWERED:
            return base
        self.flow()
        return self._dated(base, node.service, node.centre, {c: x.position for c, x in logs.copies.items()})

    def _dated(self, base: Reading, service: str, centre: str, positions: dict[str, int]) -> Reading:
        """A reading with positions."""
        if base.reach is not Reach.ANSWERED:
            return base
        own = positions[centre] * BYTES
        down = tuple(
            Downstream(centre=d.centre, sync=d.sync, streaming=d.streaming, position=positions[d.centre] * BYTES)
            for d in base.downstreams
        )
        return msgspec.structs.replace(base, position=own, replayed=own, downstreams=down, last_heard_s=0.0)

    def begin_lie(self, centre: str) -> None:
        """From now on probes of a centre are answered with what was true now."""
        self.note(f"fault: probes of {centre} show what was")
        self.flow()
        positions = {s: {c: x.position for c, x in logs.copies.items()} for s, logs in self.logs.items()}
        self.trouble.lying[centre] = (self.state, positions)
        self.trouble.lied = True

    # Actions

    def send(self, ordered: Ordered, answer: Callable[[str], None]) -> None:
        """Carry an order to its instance; `answer` is called with why it failed, or nothing, or never."""
        source = self.chance.of("orders")
        centre = self.topology.instance_by_id[ordered.act.instance].centre
        delay_s = self._delay(centre, source.random())
        if self.trouble.next_is_late:
            self.trouble.next_is_late = False
            self._later_still(source.choice((1.0, LANDINGS_S)) * source.random(), ordered, answer)
            return
        if source.random() < max(self.trouble.lost_answers, self.trouble.lossy.get(centre, 0.0) / 3):
            if source.random() < 0.5:
                late_s = source.choice((delay_s, LANDINGS_S * source.random()))
                self.note(f"the answer to {ordered.step} will be lost; it lands {late_s:.3f} s later")
                self._later_still(late_s, ordered, _deaf)
            else:
                self.note(f"the order {ordered.step} is lost")
            return
        self.later(delay_s, self.land, ordered, answer)

    def _later_still(self, late_s: float, ordered: Ordered, answer: Callable[[str], None]) -> None:
        self._late += 1

        def arrive() -> None:
            self._late -= 1
            self.land(ordered, answer)

        self.later(late_s, arrive)

    def land(self, ordered: Ordered, answer: Callable[[str], None]) -> None:
        """An order takes effect, or is refused."""
        act = ordered.act
        place = self._ground.index[act.instance]
        node = self.state.world.nodes[place]
        at_source = act.verb is Verb.DEMOTE and bool(act.towards)
        if not connected(self.state.world, HERE, act.towards[0] if at_source else node.centre):
            self.note(f"{ordered.step} does not reach {act.instance}")
            return
        if node.power is Power.FROZEN and not ACTIONS[act.verb].host and not at_source:
            self._parked.setdefault(act.instance, []).append((ordered, answer))
            return
        self.flow()
        why, after = self.state.after(act)
        if why:
            self.note(f"{ordered.step} is refused (epoch {act.epoch}): {why}")
            self._reach(f"refused {act.verb.value}")
            answer(why)
            return
        if node.epoch > act.epoch and not at_source:
            self.violate("newest-epoch-acts", f"{ordered.step} takes effect after a later run's on {node.id}")
        self._judge(ordered)
        vain = self.state.in_vain(act)
        self.note(f"{ordered.step} takes effect (epoch {act.epoch}){f', in vain: {vain}' if vain else ''}")
        self._reach(act.verb.value)
        self.landed += 1
        if not vain:
            self._change_data(act, node.role.value == "primary", accepted=ordered.accepted)
        self.move(after)
        answer(vain)

    def _change_data(self, act: Act, was_primary: bool, *, accepted: bool) -> None:
        instance = self.topology.instance_by_id[act.instance]
        logs = self.logs.get(instance.service)
        if logs is None:
            return
        if act.verb is Verb.PROMOTE and not was_primary:
            logs.promote(instance.centre, accepted=accepted)
        if act.verb is Verb.REJOIN:
            logs.rebuild(instance.centre, act.towards[0])
        if logs.wrong:
            self._data_wrong(instance.service, logs)

    def _judge(self, ordered: Ordered) -> None:
        for rule, text in self.state.judged(ordered.act, ordered.accepted):
            if rule == "users-led-to-the-primary" and self._was_right(ordered, rule):
                continue
            if rule == "promotion-keeps-all" and self._holds_everything(ordered.act):
                continue
            self.violate(rule, text)

    def _holds_everything(self, act: Act) -> bool:
        """Whether a copy has all that its primary ever wrote: one that was cut off while nobody wrote missed nothing.

        The control plane knows no positions, and takes every cut for a loss.
        """
        instance = self.topology.instance_by_id[act.instance]
        return self.logs[instance.service].level(instance.centre)

    def _was_right(self, ordered: Ordered, rule: str) -> bool:
        """Whether the action was right when it was decided: the world may have changed since the look."""
        looked_s = self.looked_s.get(ordered.step, ordered.sent_s + 1.0)
        since = looked_s if looked_s <= ordered.sent_s else ordered.sent_s - LOOK_S  # not the look of a later life
        since -= LIE_S if self.trouble.lied else 0.0
        recent = [s for n, (_, s) in enumerate(self._past) if n + 1 == len(self._past) or self._past[n + 1][0] >= since]
        return any(all(r != rule for r, _ in s.judged(ordered.act, ordered.accepted)) for s in recent)

    def _reach(self, what: str) -> None:
        for name in {f.name for f in self.in_force} or {"-"}:
            self.reached[what, name] = self.reached.get((what, name), 0) + 1

    def streams(self, instance: str) -> bool:
        """Whether a copy receives now."""
        return self.state.reading(self._ground.index[instance]).receiving is True


def _deaf(_: str) -> None:
    """Nobody hears it."""


def takes_s(verb: Verb, chance: Chance) -> float:
    """How long an action takes beside its way."""
    return spread(chance.of("durations"), DURATIONS_S.get(verb, 0.1))


DURATIONS_S = {
    Verb.FENCE: 2.0,
    Verb.UNFENCE: 2.0,
    Verb.REJOIN: 3.0,
    Verb.PROMOTE: 0.15,
    Verb.START: 0.5,
    Verb.STOP: 0.5,
    Verb.RUN_PLAYBOOK: 2.0,
}
"""Medians, as measured in the lab."""
