"""What HAProxy's admin socket says, read."""

from __future__ import annotations

from orchestrator.providers.haproxy import active, admin_states, epoch_in

# Printed by HAProxy 2.8.25; the last columns differ between versions, so that their names are what counts.
STATES = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight
3 app 1 a 127.0.0.1 2 0 1 1
3 app 2 b 127.0.0.1 0 0 1 1
3 app 3 c 127.0.0.1 0 5 1 1
3 app 4 d 127.0.0.1 0 4 1 1
3 app 5 e 127.0.0.1 0 32 1 1

proc.drctl_epoch: type=sint value=<7>
"""


def test_servers_in_maintenance_get_no_users() -> None:
    """b is down by its health check and d was disabled in the configuration and set ready since: both are routed to."""
    assert admin_states(STATES) == {"a": 0, "b": 0, "c": 5, "d": 4, "e": 32}
    assert active(admin_states(STATES)) == ("a", "b", "d")


def test_the_epoch_is_a_variable_of_the_process() -> None:
    assert epoch_in(STATES) == 7
    assert epoch_in(STATES.replace("proc.drctl_epoch: type=sint value=<7>", "Variable not found.")) is None


def test_what_is_no_table_is_nothing() -> None:
    assert admin_states("Can't find backend.\n") == {}
    assert admin_states("") == {}
