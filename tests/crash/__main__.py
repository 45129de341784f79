"""`make crash`: the matrix of kills. Stop it when you like: what is in the results file is not run again.

python -m tests.crash                                     everything, scenario by scenario
python -m tests.crash --sample 40                         forty cases, spread over all
python -m tests.crash --scenario switchover --kind inside
python -m tests.crash --case 'switchover step_done:legal-person/db@a:demote:after'
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from tests.crash.cases import Case, cases, reference
from tests.crash.estate import Estate
from tests.crash.runner import run_case
from tests.crash.scenarios import BY_NAME, SCENARIOS
from tests.crash.table import table
from tests.integration.conftest import pytest_configure as data_in_memory

FOLDER = Path("/tmp/drctl-crash")
WRONG = 1


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("--scenario", action="append", choices=list(BY_NAME), help="only these")
    parser.add_argument("--kind", action="append", help="before, after, inside, resume, frozen, closing, special")
    parser.add_argument("--sample", type=int, default=0, help="so many cases, spread evenly")
    parser.add_argument("--case", action="append", help="'SCENARIO POINTS', as the table prints it")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"lab, homes and results [{FOLDER}]")
    parser.add_argument("--anew", action="store_true", help="forget earlier results")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no case after so long")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    return parser.parse_args()


def chosen(estate: Estate, asked: argparse.Namespace) -> list[Case]:
    """The cases that are asked for; scenarios take turns, so that whoever stops early has seen all of them."""
    if asked.case:
        parts = [text.partition(" ") for text in asked.case]
        return [Case(scenario=scenario, kind="asked", text=text) for scenario, _, text in parts]
    wanted = [s for s in SCENARIOS if not asked.scenario or s.name in asked.scenario]
    found = [c for s in wanted for c in cases(s, reference(estate, s, asked.folder))]
    found = [c for c in found if not asked.kind or c.kind in asked.kind]
    if asked.sample and asked.sample < len(found):
        return [found[i * len(found) // asked.sample] for i in range(asked.sample)]
    return found


def run(estate: Estate, wanted: list[Case], results: Path, minutes: float) -> None:
    """Run what has no result yet; a line each, in the file and on the screen."""
    known = {r["id"] for r in read(results)}
    ends = time.monotonic() + minutes * 60
    for number, case in enumerate(wanted, 1):
        if case.id in known or time.monotonic() > ends:
            continue
        result = run_case(estate, BY_NAME[case.scenario], case.text)
        line = {"id": case.id, "scenario": case.scenario, "kind": case.kind, "struck": result.struck,
                "problems": result.problems, "codes": result.codes, "seconds": round(result.seconds, 1),
                "command": case.command}  # fmt: skip
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        said = "; ".join(result.problems) or ("right" if result.struck else "right (ended before that point)")
        print(f"{number}/{len(wanted)} {case.id}: {said} ({result.seconds:.0f} s)", flush=True)
        if result.problems:
            keep_wrong(estate, case)


def keep_wrong(estate: Estate, case: Case) -> None:
    """The home of a case that went wrong, for whoever looks for the cause."""
    name = "".join(c if c.isalnum() else "-" for c in case.id)
    target = estate.folder / "wrong" / name[:120]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(estate.folder / "homes" / "case" / "runs", target, symlinks=True)


def read(results: Path) -> list[dict[str, object]]:
    """Results so far."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def main() -> int:
    """Run the matrix, print its table; 1 where a case went wrong."""
    asked = arguments()
    data_in_memory()
    os.environ.pop("DRCTL_CRASH_AT", None)
    asked.folder.mkdir(parents=True, exist_ok=True)
    results = asked.folder / "results.jsonl"
    if asked.anew:
        for path in (results, *asked.folder.glob("reference-*")):
            path.unlink(missing_ok=True)
    if asked.case:
        results = asked.folder / "asked.jsonl"
        results.unlink(missing_ok=True)
    estate = Estate(asked.folder)
    try:
        estate.up()
        wanted = chosen(estate, asked)
        if asked.list:
            print("\n".join(f"{c.kind:8} {c.id}" for c in wanted))
            return 0
        run(estate, wanted, results, asked.minutes)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
    finally:
        estate.down()
    ran = [r for r in read(results) if r["id"] in {c.id for c in wanted}]
    print(table(ran, len(wanted)))
    return WRONG if any(r["problems"] for r in ran) or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
