"""What the prover says of a plan: a certificate with its counts, or a counterexample told as a story. Pure, frozen.

Not to be taken for `model.proof`, which is about the content of copies. Seconds are no part of it: the same plan and
the same estate give the same certificate.
"""

from __future__ import annotations

from orchestrator.model.topology import Frozen, Text


class Shape(Frozen, kw_only=True):
    """Systems that are alike but for names: proven once."""

    key: str
    """SHA-256 of what they have in common: what is proven of one is proven of every other of this key."""
    systems: tuple[str, ...]
    """Ids; the first is the one that was searched."""
    steps: int
    states: int
    transitions: int
    troubles: int
    """How many of a fault, a crash and a late answer were let come together; 3 is all."""


class Certificate(Frozen, kw_only=True):
    """No way through the plan breaks an invariant, within what was considered and assumed."""

    scenario: str
    plan_sha256: str
    prover: str
    """Version of the model; another one may prove something else."""
    systems: int
    states: int
    transitions: int
    violations: int = 0
    shapes: tuple[Shape, ...]
    starts: tuple[str, ...]
    """How the lost centre may stand at first; empty where the plan itself injects the fault, or nothing is lost."""
    faults: tuple[str, ...]
    """Each as one more fault of the world, at any time."""
    considered: tuple[Text, ...]
    assumed: tuple[Text, ...]
    unproven: tuple[str, ...] = ()
    """Systems that had more states than the bound; nothing is said of them."""

    @property
    def complete(self) -> bool:
        """Whether every system of the plan is proven."""
        return not self.unproven


class Counterexample(Frozen, kw_only=True):
    """A way through the plan that ends in harm, with as little going wrong as possible."""

    scenario: str
    plan_sha256: str
    system: str
    rule: str
    """Name of the invariant, as in `machine.invariants`."""
    story: tuple[Text, ...]
    """Sentences, in the order of time; the last one tells the harm."""

    def told(self, lang: str) -> str:
        """The story, numbered."""
        return "\n".join(f"  {n}. {sentence.of(lang)}" for n, sentence in enumerate(self.story, 1))


class Transition(Frozen, kw_only=True):
    """How often something leads from one class of states to another."""

    source: str
    label: str
    target: str
    times: int


class MachineStates(Frozen, kw_only=True):
    """The state machine of one service over three centres, enumerated."""

    states: int
    transitions: int
    violations: tuple[str, ...]
    faults_at_once: int
    classes: tuple[str, ...]
    """States as a person names them: role and standing of each centre."""
    moves: tuple[Transition, ...]
