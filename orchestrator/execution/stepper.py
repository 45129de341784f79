"""One step: its gates are re-probed, its effect is written down and begun, its proof is waited for.

Leaves out: which step may begin when, and what a failure means for the rest (executor).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeVar

import msgspec

from orchestrator.errors import DrctlError
from orchestrator.evidence.journal import JournalFailed, Superseded
from orchestrator.execution.conversation import Control
from orchestrator.execution.history import UNTOUCHING, WOULD, Answer
from orchestrator.execution.ports import Ports, Site
from orchestrator.execution.runlog import RunLog, settings
from orchestrator.model.observation import Finding, Snapshot, Verdict
from orchestrator.model.plan import EXERCISES, Condition, Fact, Mode, ScenarioKind, Step, Undo, Verb
from orchestrator.model.run import Event
from orchestrator.model.topology import Instance, Service, Setting, Text
from orchestrator.providers.base import Order

T = TypeVar("T")

LOOKS_S = (0.5, 1.0, 2.0)
"""Bounds of the looks at a gate: a dead centre on the critical path costs the first one; what could not be told is
looked at again with more patience."""
CONFIRM_GATE_S = 5.0
"""A step that only confirms may wait so long for its gates."""
ON_ITS_WAY_S = 1.0
"""A candidate may be behind so long before that is certain: a server that takes no writes still logs of its own now and
then (PostgreSQL: running transactions, checkpoints), and two readings are not of the very same moment."""
VERIFY_LOOK_S = (1.0, 4.0)
"""Bound of a verifying look: of the first, doubling up to the last, so that what answers slowly is seen in the end."""
POLL_S = (0.01, 0.25)
"""Wait between two looks: the first, doubling up to the last."""
ACTOR_GRACE_S = 5.0
"""An actor that does not keep its own bound is stopped so much later."""
OWN_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What a full or failing disk of this machine says. That is no step's failure: the run stops and can be resumed."""
REFUSALS = frozenset({"no", "n", "abort", "refuse", "refused", "stop", "否", "不", "拒绝", "中止"})
"""Answers that do not let a run go on, where a question has no param `expect`."""


class StepFailed(Exception):
    """This step did not reach its end."""

    def __init__(self, reason: Text) -> None:
        super().__init__(reason.en)
        self.reason = reason


class Stopped(Exception):
    """The operator paused or aborted while the step waited; it neither ended nor failed."""


def failed(en: str, zh: str = "") -> StepFailed:
    """A failure in both languages (foreign messages stay as they are)."""
    return StepFailed(Text(en=en, zh=zh or en))


class Spent:
    """Where a step's time went, in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._begin = monotonic()
        self.gate_s = self.action_s = self.verify_s = 0.0

    @contextlib.contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count the time of a block towards `name`."""
        begin = self._now()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + self._now() - begin)

    def data(self) -> tuple[Setting, ...]:
        """`own_s` is what the program itself added: everything but looking, acting and waiting for the proof."""
        total = self._now() - self._begin
        return settings(
            action_s=self.action_s,
            verify_s=self.verify_s,
            gate_s=self.gate_s,
            own_s=max(0.0, total - self.action_s - self.verify_s - self.gate_s),
            total_s=total,
        )


class Stepper:
    """Carries out single steps of one run."""

    def __init__(self, site: Site, ports: Ports, log: RunLog) -> None:
        self._site, self._ports, self._log = site, ports, log
        self._mode = site.plan.mode
        self._would = self._mode in EXERCISES

    async def run(self, step: Step) -> None:
        """Carry one step out, up to and including the record that it is done.

        Raises:
            StepFailed: a gate stayed shut, the action failed, or its proof did not come in time.
            Stopped: the operator stopped the run while this step waited.
            JournalFailed, Superseded: nothing may be done any more.
        """
        spent = Spent(self._ports.clock.monotonic)
        self._log.write(Event.STEP_STARTED, step.id)
        if self._mode is Mode.TABLETOP:
            self._log.write(Event.STEP_DONE, step.id, f"would {step.verb.value}", settings(**{WOULD: "yes"}))
            return
        detail = await self._carry_out(step, spent)
        data = spent.data() + (settings(**{WOULD: "yes"}) if self._would else ())
        self._log.write(Event.STEP_DONE, step.id, detail, data)

    async def undo(self, step: Step, undo: Undo) -> str:
        """Go a step's way back; what the actor says.

        Raises:
            StepFailed: it did not reach its end.
        """
        if undo.verb is Verb.HEAL:
            await self._guarded(self._ports.heal, step, step.timeout_s)
            return "healed"
        back = msgspec.structs.replace(
            step, verb=undo.verb, instance=undo.instance, towards=undo.towards, params=undo.params
        )
        return await self._act(back)

    async def _carry_out(self, step: Step, spent: Spent) -> str:
        if step.verb is Verb.CONFIRM and not step.verify:
            raise failed("it confirms nothing: no condition is given", "没有可确认的条件")
        if step.verb is Verb.PROMOTE and not step.gates and self._site.plan.kind is not ScenarioKind.EXERCISE:
            raise failed("a promotion without any gate is not allowed", "提升不得没有准入条件")
        if step.gates:
            with spent.on("gate_s"):
                findings = await self._open_gates(step)
            self._write_judgement(step, findings)
        detail = await self._effect(step, spent)
        if step.verify and not (self._would and step.verb is not Verb.CONFIRM):
            with spent.on("verify_s"):
                await self._prove(step)
        return detail

    async def _open_gates(self, step: Step) -> tuple[Finding, ...]:
        """Look until every gate passes, one fails for certain, or the patience ends; the last findings."""
        now = self._ports.clock.monotonic
        begun, wait_s, attempt = now(), POLL_S[0], 0
        while True:
            findings = await self._judged(step.gates, LOOKS_S[min(attempt, len(LOOKS_S) - 1)])
            attempt += 1
            if _all_pass(findings) or self._would:
                return findings
            shut = {f.check for f in findings if f.verdict is Verdict.FAIL}
            if step.verb is Verb.CONFIRM:
                patient = now() < begun + CONFIRM_GATE_S
            elif shut:
                patient = shut == {Fact.HOLDS_ALL.value} and now() < begun + ON_ITS_WAY_S
            else:
                patient = attempt < len(LOOKS_S)
            if not patient:
                return findings
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, POLL_S[1])

    def _write_judgement(self, step: Step, findings: Collection[Finding]) -> None:
        for finding in findings:
            data = settings(fact=finding.check, instance=finding.subject, verdict=finding.verdict.value)
            zh = settings(detail_zh=finding.reason.zh)
            self._log.write(Event.GATE_JUDGED, step.id, finding.reason.en, data + zh)
        if not self._would and not _all_pass(findings):
            raise StepFailed(_shut(findings))

    async def _effect(self, step: Step, spent: Spent) -> str:
        """The effect, its start on disk before it begins; what is to be said of it."""
        if step.verb is Verb.CONFIRM:
            return "confirmed"
        if self._would and step.verb in {Verb.ASK, Verb.INJECT, Verb.HEAL}:
            return f"would {step.verb.value}"
        if step.verb is Verb.ASK:
            answer = await self._answer(step)
            return f"{answer.name}: {answer.answer}"
        if not step.repeatable and step.id in self._log.history.effected:
            return "took effect before the run was interrupted"
        if await self._settled_by_person(step):
            return "a person says that it took effect"
        would = settings(**{WOULD: "yes"}) if self._would else ()
        self._log.write(Event.EFFECT_STARTED, step.id, step.verb.value, would)
        if step.verb is Verb.INJECT:
            self._log.write(Event.FAULT_INJECTED, step.id, self._fault(step))
        await self._log.settle(must=not step.repeatable)
        with spent.on("action_s"):
            detail = await self._do(step)
        if step.verb is Verb.HEAL:
            self._log.write(Event.FAULT_HEALED, step.id)
        self._log.write(Event.EFFECT_DONE, step.id, detail, would)
        if not step.repeatable:
            await self._log.settle()
        return detail

    async def _do(self, step: Step) -> str:
        if step.verb is Verb.INJECT:
            await self._guarded(lambda: self._ports.inject(self._fault(step)), step, step.timeout_s)
            return self._fault(step)
        if step.verb is Verb.HEAL:
            await self._guarded(self._ports.heal, step, step.timeout_s)
            return "healed"
        return await self._act(step)

    def _fault(self, step: Step) -> str:
        return step.param("fault") or self._site.plan.fault

    async def _act(self, step: Step) -> str:
        service, instance = self._subject(step)
        topology = self._site.topology
        strange = [name for name in step.towards if name not in topology.instance_by_id]
        if strange:
            raise failed(f"the topology holds no {', '.join(strange)}", f"拓扑中没有 {', '.join(strange)}")
        order = Order(
            run=self._site.run,
            step=step.id,
            epoch=self._site.epoch,
            service=service,
            instance=instance,
            towards=tuple(topology.instance_by_id[name] for name in step.towards),
            params=step.params,
            within_s=step.timeout_s,
            artifacts=self._site.artifacts(step.id),
        )
        actor = self._ports.actor(service.kind)
        outcome = await self._guarded(lambda: actor.act(step.verb, order), step, step.timeout_s + ACTOR_GRACE_S)
        return outcome.detail

    def _subject(self, step: Step) -> tuple[Service, Instance]:
        """What a step acts on; a playbook for a whole system gets the system's first instance, in the target centre if
        there is one."""
        topology = self._site.topology
        found = topology.instance_by_id.get(step.instance)
        if not found and not step.instance:
            system = topology.system_by_id.get(step.system)
            services = system.services if system else tuple(topology.services())
            inside = [i for v in services for i in v.instances]
            found = next((i for i in inside if i.centre == self._site.plan.target), inside[0] if inside else None)
        if not found:
            raise failed(f"the topology holds no {step.instance or step.system}", "拓扑中没有该实例")
        return topology.service_by_id[found.service], found

    async def _guarded(self, action: Callable[[], Awaitable[T]], step: Step, within_s: float) -> T:
        """The boundary to every foreign error: an action ends well, or the step has failed."""
        try:
            with self._log.inside(step.id):
                async with asyncio.timeout(within_s):
                    return await action()
        except (JournalFailed, Superseded):
            raise
        except Exception as error:
            if _being_stopped():
                raise asyncio.CancelledError from error
            if isinstance(error, OSError) and error.errno in OWN_DISK:
                raise
            raise self._failure(error, step, within_s) from error

    def _failure(self, error: Exception, step: Step, within_s: float) -> StepFailed:
        if isinstance(error, DrctlError):
            return failed(error.message)
        if isinstance(error, TimeoutError):
            return failed(f"no end within {within_s:g} s", f"{within_s:g} 秒内未完成")
        path = self._site.artifacts(step.id) / "traceback.txt"
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return failed(f"a bug in an action: {type(error).__name__}: {error} (see {path})")

    async def _prove(self, step: Step) -> None:
        """Poll until every verify condition passes, at most `timeout_s`; the last look has its time nevertheless."""
        now = self._ports.clock.monotonic
        deadline = now() + step.timeout_s
        wait_s, look_s = POLL_S[0], VERIFY_LOOK_S[0]
        while True:
            findings = await self._judged(step.verify, min(look_s, max(VERIFY_LOOK_S[0], deadline - now())))
            if _all_pass(findings):
                return None
            if self._would:
                return self._write_judgement(step, findings)
            if now() >= deadline:
                raise StepFailed(_shut(findings, within_s=step.timeout_s))
            self._heed_control(step)
            await asyncio.sleep(wait_s)
            wait_s, look_s = min(wait_s * 2, POLL_S[1]), min(look_s * 2, VERIFY_LOOK_S[1])

    def _heed_control(self, step: Step) -> None:
        """A waiting step stops for an abort; for a pause only where it changes nothing."""
        control = self._ports.control()
        if control is Control.ABORT or (control is Control.PAUSE and step.verb in UNTOUCHING):
            raise Stopped

    async def _judged(self, conditions: Collection[Condition], within_s: float) -> tuple[Finding, ...]:
        names = sorted({name for c in conditions for name in (c.instance, *c.others)})
        snapshot = self._as_ours(await self._ports.observe(names, within_s))
        fenced = frozenset(self._log.history.fenced)
        before = self._as_ours(self._site.before)
        return tuple(self._ports.judge(c, snapshot, before, fenced, self._site.epoch) for c in conditions)

    def _as_ours(self, snapshot: Snapshot) -> Snapshot:
        """What an earlier executor of this same run changed is this run's own."""
        earlier = set(self._log.history.epochs) - {self._site.epoch}
        if not earlier or not any(r.epoch in earlier for r in snapshot.readings):
            return snapshot
        readings = tuple(
            msgspec.structs.replace(r, epoch=self._site.epoch) if r.epoch in earlier else r for r in snapshot.readings
        )
        return msgspec.structs.replace(snapshot, readings=readings)

    async def _answer(self, step: Step) -> Answer:
        answer = self._log.history.answers.get(step.id) or await self._ask(step, step.id)
        expected = [word.strip().casefold() for word in step.param("expect").split(",") if word.strip()]
        given = answer.answer.strip().casefold()
        if (expected and given not in expected) or (not expected and given in REFUSALS):
            raise failed(f"{answer.name} answered {answer.answer!r}", f"{answer.name} 的回答为 {answer.answer!r}")
        return answer

    async def _settled_by_person(self, step: Step) -> bool:
        """Whether a step that must not run twice, and of which only the start is known, is known to have happened.

        True: a person says so. False: it is to run (it never began, may run again, or a person says that it did not).
        """
        if step.id not in self._log.history.open or step.repeatable:
            return False
        text = Text(
            en=f"{step.text.en}: interrupted, it is not known whether it took effect. Answer done, again or failed.",
            zh=f"{step.text.zh}：执行中断，不知是否生效。请回答 done、again 或 failed。",
        )
        question = msgspec.structs.replace(step, verb=Verb.ASK, text=text)
        answer = self._log.history.answers.get(step.id) or await self._ask(question, step.id)
        given = answer.answer.strip().casefold()
        if given not in {"done", "again"}:
            raise failed(f"{answer.name} answered {answer.answer!r}: its outcome is unknown", "其结果未知")
        return given == "done"

    async def _ask(self, question: Step, step: str) -> Answer:
        """A person's answer, journaled; bounded by the step's time, and ended by a pause or an abort."""
        asking = asyncio.ensure_future(self._ports.ask(question))
        now = self._ports.clock.monotonic
        deadline = now() + question.timeout_s
        try:
            while not asking.done():
                self._heed_control(msgspec.structs.replace(question, verb=Verb.ASK))
                if now() >= deadline:
                    raise failed(f"nobody answered within {question.timeout_s:g} s", "无人应答")
                await asyncio.wait({asking}, timeout=POLL_S[1])
            answer = await asking
        finally:
            asking.cancel()
        data = settings(answer=answer.answer, name=answer.name)
        self._log.write(Event.ANSWERED, step, f"{answer.name}: {answer.answer}", data)
        await self._log.settle()
        self._site.forget_answer(step)
        return answer


def _being_stopped() -> bool:
    """Whether the operator has stopped the run at once: what an action says while it is broken off is no failure."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _all_pass(findings: Collection[Finding]) -> bool:
    return bool(findings) and all(f.verdict is Verdict.PASS for f in findings)


def _shut(findings: Collection[Finding], within_s: float | None = None) -> Text:
    bad = [f for f in findings if f.verdict is not Verdict.PASS]
    en = "; ".join(f"{f.check} {f.subject}: {f.verdict.value}, {f.reason.en}" for f in bad)
    zh = "；".join(f"{f.check} {f.subject}：{f.reason.zh}" for f in bad)
    if within_s is None:
        return Text(en=f"gate shut: {en}", zh=f"准入未通过：{zh}")
    return Text(en=f"not proven within {within_s:g} s: {en}", zh=f"{within_s:g} 秒内未得到验证：{zh}")
