"""The `drctl` command: finds the group, and is the one place where errors become messages and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator.cli.options import Settings
from orchestrator.errors import DrctlError, Interrupted

COMMANDS: dict[str, str] = {
    "topology": "Read, check and draw the estate's topology.",
    "lab": "Three real centres on this machine.",
    "check": "Health checks over every centre at once.",
    "lint": "What a recovery rests on that stands in a dark centre.",
    "verify": "Prove that replicas hold what the primary holds.",
    "plan": "Show what would be done, in which order, and on what grounds.",
    "simulate": "How long a scenario would take, imagined many times over.",
    "prove": "Prove that no run of a plan does harm.",
    "approve": "Consent, with your name, to one plan.",
    "drill": "Exercise a scenario: tabletop, rehearsal, isolated or live.",
    "failover": "A centre or a site is lost: take over.",
    "switchover": "Move a healthy estate; nothing may be lost.",
    "failback": "The way home, protection restored.",
    "worker": "Serve one centre: carry out its actions, watch the others.",
    "takeover": "Go on, from another centre, with a run whose controller is gone.",
    "runs": "List, show, resume or abort runs.",
    "evidence": "Verify evidence bundles.",
    "report": "Render the report of a run.",
    "completion": "Print a shell completion script.",
}
"""Every command with its short help; the module of command `x` is orchestrator/cli/x.py and holds a command `x`.

The short help stands here so that `drctl --help` imports none of them.
"""


class LazyGroup(click.Group):
    """Imports a command's module only when it is used, so that --help and completion are fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--estate",
    default="lab",
    show_default=True,
    envvar="DRCTL_ESTATE",
    metavar="NAME|DIR",
    help="Estate under inventories/, or a folder with a topology.yaml.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=Path(".drctl"),
    show_default=True,
    envvar="DRCTL_HOME",
    help="Folder for runs, the lab and the state.",
)
@click.option(
    "--lab",
    "lab_dir",
    type=click.Path(path_type=Path),
    default=None,
    envvar="DRCTL_LAB",
    metavar="DIR",
    help="Folder of the lab.  [default: HOME/lab]",
)
@click.option(
    "--state",
    default="",
    envvar="DRCTL_STATE",
    metavar="URL",
    help="State store: sqlite (default, in HOME) or postgresql://…  for a team.",
)
@click.option(
    "--centre",
    default="",
    envvar="DRCTL_CENTRE",
    metavar="ID",
    help="Centre that this command runs in, told to the team's state store.",
)
@click.option(
    "--witness",
    default="",
    envvar="DRCTL_WITNESS",
    metavar="URL,…",
    help="An etcd outside the centres that has a vote on whether one is lost: http://HOST:2379,…",
)
@click.option(
    "--lang",
    type=click.Choice(["en", "zh"]),
    default=None,
    envvar="DRCTL_LANG",
    help="Language of findings and reports.  [default: from the locale]",
)
@click.version_option(package_name="drctl", prog_name="drctl")
@click.pass_context
def cli(
    ctx: click.Context, /, estate: str, home: Path, *, lab_dir: Path | None, state: str, centre: str, witness: str,
    lang: str | None,
) -> None:  # fmt: skip
    """Disaster recovery over two sites and three centres (两地三中心).

    \b
    Examples:
      drctl lab up                                   three real centres on this machine
      drctl check                                    is everything healthy?
      drctl verify                                   do the replicas hold the same data?
      drctl plan centre-lost --lost a -o plan.json   what would be done
      drctl drill run centre-lost --lost a --mode live --fault "kill-centre a"
      drctl evidence verify .drctl/runs/RUN/bundle   has anyone changed the evidence?
    """
    ctx.obj = Settings(
        estate=estate,
        home=home,
        lab_dir=lab_dir or home / "lab",
        state=state,
        centre=centre,
        witness=tuple(url.strip() for url in witness.split(",") if url.strip()),
        lang=lang or locale_language(),
    )


def locale_language() -> str:
    """`zh` where the locale is Chinese, else `en`; by the order of POSIX (LC_ALL, LC_MESSAGES, LANG)."""
    value = next((v for k in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := os.environ.get(k))), "")
    return "zh" if value.lower().startswith("zh") else "en"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that tells the state of the world."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code (see orchestrator.errors)."""
    try:
        result = cli.main(args=argv, prog_name="drctl", standalone_mode=False)
    except click.exceptions.Abort:
        return complain("interrupted", "run the command again", Interrupted.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code if error.exit_code != 1 else 2
    except KeyboardInterrupt:
        return complain("interrupted", "`drctl runs list` shows what can be resumed", Interrupted.exit_code)
    except SystemExit as end:
        # click ends so with 1 where the reader has gone away (`drctl … | head`): that is the reader's right, no error
        return 0 if type(sys.stdout).__name__ == "PacifyFlushWrapper" else int(end.code or 0)
    except DrctlError as error:
        return complain(error.message, error.hint, error.exit_code)
    except Exception as error:
        return complain(f"a bug in drctl: {type(error).__name__}: {error}", f"report it with {save_traceback()}", 1)
    return result if isinstance(result, int) else 0


def complain(message: str, hint: str, code: int) -> int:
    """Print error and hint to standard error; returns `code`."""
    if message:
        click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code


def save_traceback() -> str:
    """Write the current traceback to a file of its own and return its path; operators never see it."""
    with tempfile.NamedTemporaryFile("w", prefix="drctl-bug-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name


if __name__ == "__main__":
    main()
