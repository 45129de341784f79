"""`drctl lab`: three real centres on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import Settings, echo_json, output_option

if TYPE_CHECKING:
    from orchestrator.lab.status import LabStatus


@click.group()
def lab() -> None:
    """Three real centres on this machine.

    Nine PostgreSQL databases, nine apps and three HAProxy entries in the centres a, b and c, with delay between them.
    Needs no root, and uses loopback only (`up --net namespaces`: networks of its own).

    \b
    Examples:
      drctl lab up                            PostgreSQL, apps and entries in a, b and c
      drctl lab status                        every process, role, port, link and fault
      drctl lab fault "kill-centre a"         what a drill is for
      drctl lab heal                          bring everything back
      drctl lab down                          leave nothing
    """


@lab.command()
@click.option("--state-store", is_flag=True, help="Also a team's state store: three databases more, for `--state`.")
@click.option(
    "--net",
    type=click.Choice(["relays", "namespaces"]),
    default="relays",
    show_default=True,
    envvar="DRCTL_LAB_NET",
    help="Centres apart by relays on loopback, or each in a network namespace of its own (root).",
)
@click.option("--ssh", is_flag=True, help="With namespaces: an sshd in each centre, and Ansible goes through it.")
@click.option("--buckets", is_flag=True, help="Also a bucket in each centre, on real Ceph (Debian's packages).")
@click.pass_obj
def up(settings: Settings, state_store: bool, net: str, ssh: bool, buckets: bool) -> None:
    """Bring the lab up; one that is up already is left as it is.

    \b
    Examples:
      drctl lab up
      drctl lab up --state-store              `drctl lab status` names its URL
      drctl --lab /tmp/second lab up          a second one beside it
      drctl lab up --buckets                  a database and a bucket that fail over as one system
      drctl lab up --net namespaces --ssh     hosts by real ssh, in networks of their own
      drctl lab up --net namespaces           packets between centres: a cut is what TCP really meets
    """
    from orchestrator.lab import control
    from orchestrator.lab.state import Net

    control.up(
        settings.lab_dir, progress=click.echo, state_store=state_store, net=Net(net), ssh=ssh, with_buckets=buckets
    )


@lab.command()
@click.pass_obj
def down(settings: Settings) -> None:
    """Take the lab away: processes, shared memory, ports and files.

    \b
    Examples:
      drctl lab down
    """
    from orchestrator.lab import control

    control.down(settings.lab_dir, progress=click.echo)


@lab.command()
@output_option
@click.pass_obj
def status(settings: Settings, output: str) -> None:
    """Show every process, the roles as the databases say, ports, links and the faults in force.

    A lab whose processes are gone (a reboot, a killed bring-up) is cleaned away.

    \b
    Examples:
      drctl lab status
      drctl lab status --output json
    """
    from orchestrator.lab import control

    seen = control.status(settings.lab_dir, progress=lambda line: click.echo(line, err=True))
    if output == "json":
        echo_json(seen)
    elif seen is None:
        click.echo(f"no lab in {settings.lab_dir}; drctl lab up brings one up")
    else:
        _print(seen)


def _print(seen: LabStatus) -> None:
    if not seen.instances:
        click.echo(f"lab {seen.id} in {seen.lab_dir} is coming up or going down: {len(seen.processes)} processes")
        return
    click.echo(f"lab {seen.id}, up since {seen.started_at}, {len(seen.processes)} processes, data in {seen.root}")
    click.echo(f"{'INSTANCE':24} {'ADDRESS':19} {'STATE':8} {'ROLE':20} {'PID':>7}  DETAIL")
    for i in seen.instances:
        pid = str(i.pids[0]) if i.pids else "-"
        click.echo(f"{i.instance:24} {i.address:19} {i.condition:8} {i.role:20} {pid:>7}  {i.detail}")
    ways = (f"{w.source}>{w.target} {'CUT' if w.cut else f'{w.delay_ms:g} ms'}" for w in seen.ways)
    click.echo(f"links:    {', '.join(ways) or 'the relays do not answer'}")
    if seen.isolated:
        click.echo(f"isolated: {', '.join(seen.isolated)}")
    if seen.state_url:
        click.echo(f"state:    {seen.state_url}")
    click.echo(f"faults:   {'; '.join(seen.faults) or 'none'}")


@lab.command()
@click.argument("fault")
@click.pass_obj
def fault(settings: Settings, fault: str) -> None:
    """Put a fault in force; several are joined by `;`.

    \b
    Examples:
      drctl lab fault "kill-centre a"         kill -9 every process in it
      drctl lab fault "freeze-centre a"       SIGSTOP; thaw-centre lets it go on
      drctl lab fault "cut-link a-b"          both ways; "cut-link a>b" cuts one
      drctl lab fault "slow-link a-c 200ms"   one-way delay, both ways
      drctl lab fault "narrow-link a-c 10mbit"   bandwidth, both ways
      drctl lab fault "lag c"                 replay at c stands still
      drctl lab fault "stop-service sharing/db@b"
    """
    from orchestrator.lab import faults

    faults.inject(settings.lab_dir, fault)
    click.echo(f"in force: {fault}")


@lab.command()
@click.pass_obj
def heal(settings: Settings) -> None:
    """Take every fault away: thaw, mend links, resume replay, restart what is dead.

    A fenced database, and a former primary that another one has replaced, are left for a failback to bring home.

    \b
    Examples:
      drctl lab heal
    """
    from orchestrator.lab import faults

    for note in faults.heal(settings.lab_dir) or ("nothing was broken",):
        click.echo(note)
