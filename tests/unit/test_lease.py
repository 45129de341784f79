"""The arithmetic of a lease, and of epochs that outrank."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.team.lease import LEASE_S, MARGIN_S, RENEW_S, STRIDE, Lease, next_team_epoch

times = st.floats(min_value=0, max_value=1e6, allow_nan=False)
short = st.floats(min_value=0, max_value=60, allow_nan=False)


def test_it_holds_for_its_length_less_the_margin_from_when_the_renewal_was_sent() -> None:
    lease = Lease(sent_s=100.0, length_s=6.0, margin_s=1.0)
    assert lease.holds(104.999)
    assert not lease.holds(105.0)
    assert lease.left_s(103.0) == 2.0


def test_one_that_was_never_confirmed_does_not_hold() -> None:
    assert not Lease(sent_s=float("-inf")).holds(0.0)


def test_a_late_answer_to_an_early_renewal_does_not_shorten_it() -> None:
    lease = Lease(sent_s=10.0).renewed(20.0)
    assert lease.renewed(15.0).sent_s == 20.0
    assert lease.renewed(25.0).sent_s == 25.0


def test_two_renewals_may_fail_before_it_runs_out() -> None:
    assert 2 * RENEW_S < LEASE_S - MARGIN_S


@given(
    sent=times, travel=short, skew=st.floats(min_value=-1e6, max_value=1e6), slow=st.floats(min_value=0, max_value=0.1)
)
def test_nobody_else_may_act_while_it_holds(sent: float, travel: float, skew: float, slow: float) -> None:
    """The server stamps the end `travel` after the renewal was sent, by a clock that is off by any `skew`; the holder's
    clock is slow by up to a tenth. At the last moment at which the holder acts the server's lease has not run out."""
    lease = Lease(sent_s=sent)
    server_end = sent + travel + skew + LEASE_S
    acts_for = (LEASE_S - MARGIN_S) * (1 + slow)
    assert not lease.holds(sent + LEASE_S - MARGIN_S + 1e-6)
    assert sent + acts_for + skew <= server_end + 1e-6


@given(known=st.integers(0, 10**9), at_least=st.integers(0, 10**9), alone=st.integers(1, STRIDE - 1))
def test_a_take_over_outranks_whoever_counts_on_alone(known: int, at_least: int, alone: int) -> None:
    mine = next_team_epoch(known, at_least)
    assert mine > max(known, at_least)
    assert next_team_epoch(mine) > mine + alone
