"""`make sim SEEDS=N [FROM=K]`: many seeds on all cores; `--seed S` replays one and prints its trace."""

from __future__ import annotations

import argparse
import sys
import time

from orchestrator.machine.faults import FAULTS
from orchestrator.model.plan import Verb
from tests.simulation.campaign import Tally, campaign
from tests.simulation.driver import Driver, Result

REPLAY = "replay: .venv/bin/python -m tests.simulation --seed {seed}"


def main() -> int:
    """0: no violation; 1: some."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many (default 20000)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--cores", type=int, default=0, help="how many cores (default: all)")
    parser.add_argument("--seed", type=int, default=None, help="replay this one and print its trace")
    words = parser.parse_args()
    if words.seed is not None:
        return replay(words.seed)
    began = time.monotonic()
    tally = campaign(words.first, words.seeds, words.cores, Progress(words.seeds, began))
    print(file=sys.stderr)
    print(table(tally, time.monotonic() - began))
    return 1 if tally.broken else 0


def replay(seed: int) -> int:
    """Run one seed and print what happened."""
    result = Driver().seed(seed)
    print(story(result))
    return 1 if result.violations else 0


def story(result: Result, last: int = 0) -> str:
    """The trace of a run for people; `last` lines of it, or all."""
    lines = [f"{at:10.3f}  {text[:200]}" for at, text in result.trace]
    head = [f"seed {result.seed}: {result.situation}", f"{len(lines)} events, outcome: {result.outcome}"]
    tail = [f"VIOLATED {rule}: {text}" for rule, text in result.violations]
    replay_it = [REPLAY.format(seed=result.seed)] if result.drawn else []
    return "\n".join([*head, *lines[-last:], *tail, f"digest {result.digest}", *replay_it])


class Progress:
    """A line that tells how far it is; what is broken is told as soon as it is found."""

    def __init__(self, wanted: int, began: float) -> None:
        self._wanted, self._began = wanted, began
        self._told: set[tuple[int, str]] = set()

    def __call__(self, tally: Tally) -> None:
        """After each chunk."""
        for rule, found in tally.violations.items():
            for seed, text in found:
                if (seed, rule) not in self._told:
                    self._told.add((seed, rule))
                    print(f"\rVIOLATED {rule} by seed {seed}: {text[:140]}", file=sys.stderr)
        passed = time.monotonic() - self._began
        broken = sum(tally.broken.values())
        line = f"{tally.runs}/{self._wanted} runs, {tally.runs / passed:.0f}/s, {broken} violations"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)


def table(tally: Tally, wall_s: float) -> str:
    """Runs by scenario and outcome, coverage, violations."""
    lines = [f"{'scenario':<24}{'outcome':<32}{'runs':>9}"]
    lines += [f"{s:<24}{o:<32}{n:>9}" for (s, o), n in sorted(tally.outcomes.items())]
    lines += ["", *_coverage(tally), ""]
    lines.append(
        f"{tally.runs} runs in {len(tally.states)} situations, {tally.lives} executors lived, "
        f"{tally.virtual_s / 3600:.0f} h of virtual time, {wall_s:.0f} s, {tally.runs / wall_s:.0f} runs/s, "
        f"{tally.cpu_s / max(1, tally.runs) * 1000:.1f} ms of processor a run"
    )
    lines += _violations(tally)
    return "\n".join(lines)


def _coverage(tally: Tally) -> list[str]:
    """What was done while what was wrong, and in which state of a run what struck."""
    acts = [v.value for v in list(Verb)[:10]]
    faults = [f for f in FAULTS if any(f == name for _, name in tally.reached)]
    lines = _grid("action took effect while …", acts, faults, lambda a, f: tally.reached[a, f])
    lines += ["", *_grid("… was refused while …", acts, faults, lambda a, f: tally.reached[f"refused {a}", f])]
    kinds = sorted({k for k, _ in tally.struck})
    states = sorted({s for _, s in tally.struck})
    lines += ["", *_grid("… struck while the run was in …", kinds, states, lambda k, s: tally.struck[k, s])]
    missed = [f"{a}/{f}" for a in acts for f in faults if not tally.reached[a, f]]
    missed += [f"{k}/{s}" for k in kinds for s in states if not tally.struck[k, s]]
    return [*lines, "", f"not reached ({len(missed)}): {', '.join(missed) or 'none'}"]


def _grid(title: str, rows: list[str], columns: list[str], count: object) -> list[str]:
    assert callable(count)
    lines = [f"{title:<34}" + "".join(f"{c[:13]:>14}" for c in columns)]
    return [*lines, *(f"{r:<34}" + "".join(f"{count(r, c):>14}" for c in columns) for r in rows)]


def _violations(tally: Tally) -> list[str]:
    if not tally.broken:
        return ["0 violations"]
    lines = []
    for rule, count in tally.broken.most_common():
        lines.append(f"VIOLATED {rule} in {count} runs:")
        lines += [f"  seed {seed}: {text[:160]}" for seed, text in tally.violations[rule]]
        lines.append(f"  {REPLAY.format(seed=tally.violations[rule][0][0])}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
