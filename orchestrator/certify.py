"""A plan does not run without its proof: proves it, remembers what was proven, refuses it with the harm told.

What was proven of a shape holds for the code that proved it: the memory stands under a hash over that code.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.diskfile import read, write
from orchestrator.errors import BadFile, Refused
from orchestrator.model.certificate import Certificate, Counterexample, Shape
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Plan
from orchestrator.model.topology import Topology

if TYPE_CHECKING:
    from orchestrator.planner import UnsafeRunbook

PROOF = "proof.json"
"""Name in the folder of a run, and in its bundle."""
_CODE = ("prover.py", "proving", "machine", "checks", "model", "execution/decisions.py", "execution/history.py")
"""What a proof rests on, beside the plan."""


def certify(
    home: Path, plan: Plan, topology: Topology, now: Snapshot | None, before: Snapshot | None, *, lang: str
) -> Certificate:
    """The proof of a plan; a shape that this home has seen proven is not searched again.

    Raises:
        Refused: a run of the plan ends in harm (told as a story), or it has too many states to tell.
    """
    found = prove_remembered(home, plan, topology, now, before)
    if isinstance(found, Counterexample):
        raise Refused(_told(found, lang), hint="put back what the runbook lacks (docs/proof.md)")
    if not found.complete:
        raise Refused(
            f"not proven, too many states: {', '.join(found.unproven)}",
            hint="plan these systems apart with --system; docs/proof.md tells of the bound",
        )
    return found


def prove_remembered(
    home: Path, plan: Plan, topology: Topology, now: Snapshot | None, before: Snapshot | None
) -> Certificate | Counterexample:
    """What the prover says, with the memory of `home`; nothing is refused."""
    from orchestrator.prover import prove

    memory = home / "proofs" / f"{code_hash()[:16]}.json"
    known = _known(memory)
    found = prove(plan, topology, now=now, before=before, known=known)
    if isinstance(found, Certificate) and (fresh := [s for s in found.shapes if s.key not in known]):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write(memory, (*known.values(), *fresh))
    return found


def with_story(
    unsafe: UnsafeRunbook, plan: Plan, topology: Topology, now: Snapshot | None, before: Snapshot | None, *, lang: str
) -> Refused:
    """The refusal of an unsafe runbook, with the harm that it would do, where the prover finds some."""
    from orchestrator.prover import prove

    found = prove(plan, topology, now=now, before=before)
    if isinstance(found, Certificate):
        return unsafe
    return Refused(f"{unsafe.message}\n{_told(found, lang)}", hint=unsafe.hint)


@cache
def code_hash() -> str:
    """SHA-256 over the code that a proof rests on."""
    root = Path(__file__).parent
    files = [
        p for name in _CODE for p in ([root / name] if name.endswith(".py") else sorted((root / name).glob("*.py")))
    ]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _told(found: Counterexample, lang: str) -> str:
    if lang.startswith("zh"):
        return f"方案不安全：{found.system} 违反 `{found.rule}`\n{found.told(lang)}"
    return f"the plan is unsafe: {found.system} breaks `{found.rule}`\n{found.told(lang)}"


def _known(memory: Path) -> dict[str, Shape]:
    try:
        return {s.key: s for s in read(memory, tuple[Shape, ...])} if memory.exists() else {}
    except BadFile:
        return {}  # a memory that cannot be read costs a search, no more
