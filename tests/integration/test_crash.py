"""A sample of `make crash`, each on real databases: a chain of kills, an inside, after the end, two at once.

The whole matrix, its kinds and how a case is judged: tests/crash.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.commands import end_forks
from tests.crash.estate import Estate
from tests.crash.lives import Wanted
from tests.crash.runner import run_case, run_sweep
from tests.crash.scenarios import BY_NAME

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

SAMPLE = (
    # in the middle of a playbook, which works on while the resume begins it again; then in the sealing
    ("centre-killed", "inside:legal-person/db@a:rejoin:0+900;run_closed:*:after+400"),
    ("centre-killed", "frozen-and-taken-over"),
    ("switchover", "two-resumes"),
)


CHAIN = (
    "effect_done:legal-person/db@b:promote:before",  # the effect took place, its record was not written
    "inside:legal-person/app@b:call:1;run_resumed:*:before;run_resumed:*:after",  # and the resumes die as they open
    "effect_started:legal-person/entry@edge:redirect:after",
)
CLOSING = "run_closed:*:after+400"


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    found = Estate(tmp_path_factory.mktemp("crash"))
    try:
        found.up()
        yield found
    finally:
        end_forks()
        found.down()


@pytest.mark.parametrize(("scenario", "points"), SAMPLE)
def test_killed_and_resumed_it_ends_right(estate: Estate, scenario: str, points: str) -> None:
    result = run_case(estate, BY_NAME[scenario], points)
    assert result.problems == []
    assert result.struck, "nothing was killed: this proves nothing"


def test_a_chain_of_kills_ends_right(estate: Estate) -> None:
    points = [point for case in CHAIN for point in case.split(";")]
    result = run_sweep(estate, BY_NAME["switchover"], Wanted(False, CHAIN, (), CLOSING), len(points))
    assert result.problems == []
    assert list(result.points) == [*points, CLOSING]
    assert list(result.cases) == [*CHAIN, CLOSING]
