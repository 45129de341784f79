"""A sample of `make crash`, each on real databases: a boundary, an inside, twice, after the end, two at once.

The whole matrix, its kinds and how a case is judged: tests/crash.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.estate import Estate
from tests.crash.runner import run_case
from tests.crash.scenarios import BY_NAME

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

SAMPLE = (
    # the effect took place, its record was not written; and the resume dies as it opens
    ("switchover", "effect_done:legal-person/db@b:promote:before;run_resumed:*:after"),
    # in the middle of a playbook, which works on while the resume begins it again; then in the sealing
    ("centre-killed", "inside:legal-person/db@a:rejoin:0+900;run_closed:*:after+400"),
    ("centre-killed", "frozen-and-taken-over"),
    ("switchover", "two-resumes"),
)


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    found = Estate(tmp_path_factory.mktemp("crash"))
    try:
        found.up()
        yield found
    finally:
        found.down()


@pytest.mark.parametrize(("scenario", "points"), SAMPLE)
def test_killed_and_resumed_it_ends_right(estate: Estate, scenario: str, points: str) -> None:
    result = run_case(estate, BY_NAME[scenario], points)
    assert result.problems == []
    assert result.struck, "nothing was killed: this proves nothing"
