"""A quick subset of the mutations, those that few seeds notice; `make sim-mutations` runs all of them."""

from __future__ import annotations

import pytest

from tests.simulation.driver import Driver
from tests.simulation.mutations import MUTATIONS, broken, seeds_until_caught

QUICK = {
    "gates are not looked at again": 5,
    "unknown passes": 60,
    "no proof is waited for": 40,
    "undone in the order of doing": 100,
    "steps begin after an undo": 40,
    "the journal is not synced": 5,
    "the start of an effect is not written": 5,
    "instances take any epoch": 120,
    "fences are forgotten": 60,
    "what is done is forgotten": 5,
    "holds-all always passes": 60,
    "standby-of always passes": 40,
}


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_safeguard_is_noticed(name: str) -> None:
    mutation = next(m for m in MUTATIONS if m.name == name)
    seeds, rule = seeds_until_caught(mutation, QUICK[name])
    assert seeds, f"nobody noticed that {name} in {QUICK[name]} seeds"
    assert rule


def test_what_was_broken_is_whole_again() -> None:
    driver = Driver()
    whole = driver.seed(1).digest
    for mutation in MUTATIONS:
        with broken(mutation):
            pass
    assert driver.seed(1).digest == whole
    assert not driver.seed(1).violations
