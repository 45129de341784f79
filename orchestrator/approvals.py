"""Plan files, and the approvals beside them: `PLAN.json` and `PLAN.json.approvals.json`, bound by the plan's hash."""

from __future__ import annotations

from pathlib import Path

import msgspec

from orchestrator.diskfile import locked, read, write, write_bytes
from orchestrator.errors import BadFile, Refused, Usage
from orchestrator.model.plan import Approval, Plan

NAME_MAX = 100


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan in its canonical form: `sha256sum` of the file is the plan's hash.

    Raises:
        Usage: there is no such folder.
        Refused: it cannot be written; an older file is untouched.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise Usage(f"cannot write {path}: no such folder, or a folder itself", hint="give the path of a file")
    write_bytes(path, msgspec.json.encode(plan, order="deterministic"))


def read_plan(path: Path) -> Plan:
    """A plan from its file.

    Raises:
        BadFile: it is missing, or is no plan.
    """
    try:
        return read(path, Plan)
    except BadFile as error:
        raise BadFile(error.message, hint="`drctl plan SCENARIO -o plan.json` writes one") from error


def approvals_path(plan_file: Path) -> Path:
    """Where the approvals of a plan file stand."""
    return plan_file.with_name(f"{plan_file.name}.approvals.json")


def read_approvals(plan_file: Path, plan: Plan) -> tuple[Approval, ...]:
    """The approvals of this very plan; those of an earlier plan under the same name do not count.

    Raises:
        BadFile: the file is not one.
    """
    path = approvals_path(plan_file)
    filed = read(path, tuple[Approval, ...]) if path.exists() else ()
    return tuple(a for a in filed if a.plan_sha256 == plan.sha256)


def approve(plan_file: Path, name: str, at: str, *, accepts_loss: bool, attests: bool = False) -> tuple[Approval, ...]:
    """Add a person's consent; every approval of the plan, this one last.

    Args:
        plan_file: the plan.
        name: of the person.
        at: UTC, RFC 3339.
        accepts_loss: consent to the loss that the plan states, too.
        attests: attest that the centres which the plan names are off, and stay so until drctl has fenced them.

    Raises:
        BadFile: the plan file is none.
        Usage: the name is empty or no name.
        Refused: this person has approved already, or the plan may lose data and that is not accepted.
    """
    given = " ".join(name.split())
    if not given or len(given) > NAME_MAX or not given.isprintable():
        raise Usage("the name is empty, too long or not printable", hint='for example --name "Li Wei"')
    plan = read_plan(plan_file)
    if plan.loses_data and not accepts_loss:
        told = "; ".join(f"{loss.service}: {loss.reason.en}" for loss in plan.losses if not loss.proven_zero)
        raise Refused(f"the plan may lose data: {told}", hint="consent to it with --accept-loss, or do not approve")
    if plan.attested and not attests:
        raise Refused(
            f"the plan rests on your word that {', '.join(plan.attested)} is off",
            hint="no power there, or cut off from every user? attest it with --attest-off; else do not approve",
        )
    with locked(plan_file, f"the plan {plan_file}"):
        before = read_approvals(plan_file, plan)
        if any(a.name.casefold() == given.casefold() for a in before):
            raise Refused(f"{given} has approved this plan already", hint="a second person is needed")
        new = Approval(plan_sha256=plan.sha256, name=given, at=at, accepts_loss=accepts_loss, attests=attests)
        write(approvals_path(plan_file), (*before, new))
    return (*before, new)
