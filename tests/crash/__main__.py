"""`make crash`: the matrix of kills. Stop it when you like: what is in the results file is not run again.

python -m tests.crash                                     everything, in chains of kills, scenario after scenario
python -m tests.crash --scenario switchover --kind frozen
python -m tests.crash --sample 40                         forty cases, each in a run of its own, spread over all
python -m tests.crash --case 'switchover step_done:legal-person/db@a:demote:after'
python -m tests.crash --again                             what went wrong once more
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.cases import Case, cases, reference
from tests.crash.chains import Chain, Line, Log, following
from tests.crash.commands import end_forks
from tests.crash.estate import Estate
from tests.crash.scenarios import BY_NAME, SCENARIOS
from tests.crash.table import KINDS, table
from tests.integration.conftest import pytest_configure as data_in_memory

FOLDER = Path("/tmp/drctl-crash")
RESULTS = "chains.jsonl"
WRONG = 1
KILLS = 40
"""Of one run; more make the matrix quicker, and the undisturbed run before a kill rarer."""


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("--scenario", action="append", choices=list(BY_NAME), help="only these")
    parser.add_argument("--kind", action="append", choices=KINDS[:-1], help="only these")
    parser.add_argument("--sample", type=int, default=0, help="so many cases, spread evenly, each in its own run")
    parser.add_argument("--case", action="append", help="'SCENARIO POINTS', as the table prints it")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"kills of one run [{KILLS}]")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"lab, homes and results [{FOLDER}]")
    parser.add_argument("--anew", action="store_true", help="forget earlier results")
    parser.add_argument("--again", action="store_true", help="forget what went wrong, so that it is run again")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so long")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    return parser.parse_args()


def listed(estate: Estate, asked: argparse.Namespace) -> list[Case]:
    """The cases of the scenarios that are asked for."""
    wanted = [s for s in SCENARIOS if not asked.scenario or s.name in asked.scenario]
    return [c for s in wanted for c in cases(s, reference(estate, s, asked.folder))]


def of_kinds(found: Sequence[Case], kinds: Sequence[str] | None) -> list[Case]:
    """Those of the kinds that are asked for."""
    return [c for c in found if not kinds or c.kind in kinds]


def alone(found: Sequence[Case], log: Log, sample: int) -> Iterator[Chain]:
    """A sample of the cases, each by itself; not what was struck by itself before."""
    known = {(line.scenario, text) for line in log.lines for text in (*line.cases, line.missed)}
    for number in range(min(sample, len(found))):
        case = found[number * len(found) // sample]
        if (case.scenario, case.text) not in known:
            yield Chain(case.scenario, case.kind, text=case.text)


def chained(found: Sequence[Case], log: Log) -> Iterator[Chain]:
    """Everything in chains; scenarios take turns, so that whoever stops early has seen all of them."""
    names = list(dict.fromkeys(c.scenario for c in found))
    while names:
        for name in list(names):
            chain = following(name, [c for c in found if c.scenario == name], log.lines)
            if chain:
                yield chain
            else:
                names.remove(name)


def run(estate: Estate, chains: Iterator[Chain], log: Log, asked: argparse.Namespace) -> None:
    """Run them; a line each, in the file and on the screen."""
    ends = time.monotonic() + asked.minutes * 60
    for chain in chains:
        if time.monotonic() > ends:
            break
        line = chain.run(estate, asked.kills)
        if line.problems:
            keep_wrong(estate, len(log.lines) + 1)
            line = chain.shortened(estate, line)
        log.add(line)
        said = "; ".join(line.problems) or ("right" if line.cases or line.ended else "right (ended before that point)")
        print(f"{chain.scenario} {chain.kind} {len(line.points)} kills: {said} ({line.seconds:.0f} s)", flush=True)
        if line.problems:
            print(line.command, flush=True)


def keep_wrong(estate: Estate, number: int) -> None:
    """The home of a case that went wrong, for whoever looks for the cause."""
    target = estate.folder / "wrong" / str(number)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(estate.folder / "homes" / "case", target, symlinks=True)


def chosen(estate: Estate, asked: argparse.Namespace) -> tuple[list[Case], Log, Iterator[Chain]]:
    """All cases, the results so far, and what is to be run."""
    if asked.case:
        parts = [text.partition(" ") for text in asked.case]
        path = asked.folder / "asked.jsonl"
        path.unlink(missing_ok=True)
        return [], Log(path), iter([Chain(scenario, "asked", text=text) for scenario, _, text in parts])
    log = Log(asked.folder / RESULTS)
    if asked.again:
        log.forget_wrong()
    found = listed(estate, asked)
    picked = of_kinds(found, asked.kind)
    return found, log, alone(picked, log, asked.sample) if asked.sample else chained(picked, log)


def main() -> int:
    """Run the matrix, print its table; 1 where a case went wrong."""
    asked = arguments()
    data_in_memory()
    os.environ.pop("DRCTL_CRASH_AT", None)
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # the sampler's statements to the dead time out
    for sign in (signal.SIGINT, signal.SIGTERM):  # also in the background, where a shell has them ignored
        signal.signal(sign, signal.default_int_handler)
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.anew:
        for path in (asked.folder / RESULTS, *asked.folder.glob("reference-*")):
            path.unlink(missing_ok=True)
    estate = Estate(asked.folder)
    found: list[Case] = []
    log: Log | None = None
    try:
        estate.up()
        found, log, chains = chosen(estate, asked)
        if asked.list:
            print("\n".join(f"{c.kind:8} {c.id}" for c in of_kinds(found, asked.kind)))
            return 0
        run(estate, chains, log, asked)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
    finally:
        end_forks()
        estate.down()
    return tell(found, log.lines if log else [])


def tell(found: Sequence[Case], lines: Sequence[Line]) -> int:
    """Print the table; the exit code."""
    names = list(dict.fromkeys(c.scenario for c in found))
    through = [n for n in names if not following(n, [c for c in found if c.scenario == n], lines)]
    told = [line for line in lines if line.scenario in names or not found]
    print(table(found, told, through))
    return WRONG if any(line.problems for line in told) or not told else 0


if __name__ == "__main__":
    sys.exit(main())
