"""A lab whose centres have networks of their own: what is sent is what arrives, late, narrowed or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.lab import control, namespaces, sshd, state
from orchestrator.model.topology import EDGE
from tests.integration.drills import Home
from tests.integration.labs import Lab, running
from tests.integration.test_drills import three_copies_behind

DB_A = "legal-person/db@a"

_CONNECT = """
import socket, sys, time
began = time.monotonic()
with socket.socket() as line:
    line.settimeout(float(sys.argv[3]))
    try:
        line.connect((sys.argv[1], int(sys.argv[2])))
        print(time.monotonic() - began)
    except TimeoutError:
        print("silent")
"""
_HEAR = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
    line.bind((sys.argv[1], 9))
    print("ready", flush=True)
    heard = []
    line.settimeout(10)
    while "last" not in heard:
        heard.append(line.recv(99).decode())
    line.settimeout(0.5)
    try:
        while True:
            heard.append(line.recv(99).decode())
    except TimeoutError:
        print(" ".join(sorted(heard)))
"""
_SAY = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
    line.sendto(sys.argv[2].encode(), (sys.argv[1], 9))
"""


def possible() -> str:
    """Why there can be no such lab here; empty where there can."""
    try:
        namespaces.refuse_where_impossible()
    except Refused as error:
        return error.message
    return ""


def reachable_by_ssh() -> bool:
    """Whether this machine has what a centre's sshd needs; else Ansible works there through a shell of the centre's."""
    try:
        sshd.refuse_where_impossible()
    except Refused:
        return False
    return True


pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(possible()), reason=possible() or "possible"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    path = tmp_path_factory.mktemp("namespaces")
    with running(path / "lab", net="namespaces", ssh=reachable_by_ssh()):
        yield Home(path)


@pytest.fixture
def there(home: Home) -> Iterator[Lab]:
    """The lab, healthy before and after."""
    found = Lab(home.path / "lab")
    yield found
    found.heal()


def words(lab: Lab, centre: str, *command: str) -> list[str]:
    inside = () if centre == EDGE else namespaces.inside(state.identity(lab.dir), centre)
    return [*inside, sys.executable, "-c", *command]


def run(lab: Lab, centre: str, *command: str) -> str:
    """A small program in a centre's network; what it says."""
    done = subprocess.run(words(lab, centre, *command), capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def connect(lab: Lab, viewer: str, instance: str, within_s: float = 5.0) -> str:
    host, _, port = lab.address(instance).partition(":")
    return run(lab, viewer, _CONNECT, host, port, str(within_s))


def heard(lab: Lab, source: str, target: str) -> list[str]:
    """What a centre hears of a word from another and of a last one from the edge, whose ways are never cut."""
    hosts = namespaces.hosts(state.identity(lab.dir))
    ear = subprocess.Popen(words(lab, target, _HEAR, hosts[target]), stdout=subprocess.PIPE, text=True)
    try:
        assert ear.stdout is not None and ear.stdout.readline() == "ready\n"
        run(lab, source, _SAY, hosts[target], f"from-{source}")
        run(lab, EDGE, _SAY, hosts[target], "last")
        return ear.communicate(timeout=20)[0].split()
    finally:
        ear.kill()
        ear.wait()


def test_each_way_takes_its_time(there: Lab) -> None:
    """A connection is made after a packet has gone there and one has come back."""
    assert float(connect(there, "b", DB_A)) >= 2 * 0.001 - 0.0004
    assert float(connect(there, "c", DB_A)) >= 2 * 0.015 - 0.0004
    there.inject("slow-link a-c 200ms")
    assert float(connect(there, "c", DB_A)) >= 2 * 0.2 - 0.0004
    assert there.faults == ["slow-link a-c 200ms"]


def test_a_way_that_is_cut_loses_what_is_sent_and_the_other_way_goes_on(there: Lab) -> None:
    there.inject("cut-link a>b")
    assert heard(there, "a", "b") == ["last"]
    assert heard(there, "b", "a") == ["from-b", "last"]
    assert connect(there, "b", DB_A, 1.0) == "silent", "the answer to a call is lost"
    there.heal()
    assert heard(there, "a", "b") == ["from-a", "last"]


def test_a_narrow_link_takes_so_much_a_second(there: Lab) -> None:
    query = "SELECT count(*) FROM (SELECT repeat(md5(random()::text), 64) FROM generate_series(1, 100)) x"
    assert there.one(DB_A, query) == 100
    there.inject("narrow-link a-b 800kbit")
    assert there.faults == ["narrow-link a-b 800kbit"]
    host, _, port = there.address(DB_A).partition(":")
    pour = (
        "import sys, time, psycopg; began = time.monotonic()\n"
        f"with psycopg.connect('host={host} port={port} user=postgres dbname=app') as c:\n"
        '    got = c.execute("SELECT repeat(md5(random()::text), 32) FROM generate_series(1, 200)").fetchall()\n'
        "print(sum(len(text) for (text,) in got), time.monotonic() - began)"
    )
    size, took = run(there, "b", pour).split()
    assert int(size) == 200 * 32 * 32
    assert float(took) >= int(size) * 8 / 800_000 - 0.5, "the line's own buffer is half a second"


def test_an_isolated_instance_is_met_by_no_other_centre(there: Lab) -> None:
    relay = [sys.executable, "-m", "orchestrator.lab.relayctl", str(there.dir)]
    subprocess.run([*relay, "isolate", DB_A], check=True)
    try:
        assert connect(there, "b", DB_A, 1.0) == "silent"
        assert float(connect(there, EDGE, DB_A)) >= 0
        assert float(connect(there, "b", "sharing/db@a")) >= 0, "its neighbour is met"
    finally:
        subprocess.run([*relay, "restore", DB_A], check=True)
    assert float(connect(there, "b", DB_A)) >= 0


def test_where_nobody_listens_is_told_from_silence(there: Lab, home: Home) -> None:
    """A refusal that comes a round trip later, as over every real network."""
    there.inject("stop-service sharing/db@c")
    told = home.drctl("check", "--system", "sharing", "--check", "reachable", "--output", "json", expect=3)
    (found,) = (f for f in json.loads(told.stdout)["findings"] if f["subject"] == "sharing/db@c")
    assert (found["verdict"], found["reason"]["en"]) == ("fail", "nobody listens there")
    there.heal()
    there.inject("freeze-centre c")
    told = home.drctl("check", "--system", "sharing", "--check", "reachable", "--output", "json", expect=3)
    (found,) = (f for f in json.loads(told.stdout)["findings"] if f["subject"] == "sharing/db@c")
    assert "it cannot be told which" in found["reason"]["en"]


@pytest.mark.skipif(not reachable_by_ssh(), reason="openssh-server and openssh-client are not installed")
def test_a_host_dies_with_its_centre_and_comes_back(there: Lab) -> None:
    """Its sshd too, though it writes over the environment that bears the lab's mark."""
    host = namespaces.hosts(state.identity(there.dir))["c"]
    door = (_CONNECT, host, str(sshd.PORT), "5.0")
    assert float(run(there, EDGE, *door)) >= 0
    there.inject("kill-centre c")
    assert not namespaces.members(state.identity(there.dir), "c")
    with pytest.raises(subprocess.CalledProcessError):
        run(there, EDGE, *door)
    assert "started sshd in centre c" in there.heal()
    assert float(run(there, EDGE, *door)) >= 0


def test_a_drill_and_an_exercise_in_a_bubble(home: Home) -> None:
    """The same plans, providers and playbooks; what an instance's host is told, it is told in its centre.

    A host that is reached by ssh alone is dead with its centre: users are served, and the old primary is fenced and
    brought home once the hosts answer.
    """
    by_ssh = reachable_by_ssh()
    outcome = home.drill("centre-lost", "--lost", "a", "--fault", "kill-centre a", expect=3 if by_ssh else 0)
    if by_ssh:
        assert outcome["state"] == "degraded"
        Lab(home.path / "lab").heal()
        outcome = json.loads(home.drctl("runs", "resume", "last", "--output", "json").stdout)
    assert outcome["state"] == "done"
    for system in ("legal-person", "sharing"):
        assert home.lost_writes(system, f"{system}/db@b") == set()
        three_copies_behind(home, system, "b", "a")
    bubble = home.drctl("drill", "run", "isolated", "--mode", "isolated", "--system", "open-data", "--output", "json")
    assert json.loads(bubble.stdout)["state"] == "done"


def test_nothing_is_left(tmp_path: Path) -> None:
    with running(tmp_path / "lab", net="namespaces") as lab:
        ours = state.identity(lab.dir)
        with pytest.raises(Refused, match="up with --net namespaces"):
            control.up(lab.dir)
        assert namespaces.device(ours) in devices()
    assert namespaces.device(ours) not in devices()
    assert not list(namespaces.FOLDER.glob(f"*{ours}*"))


def devices() -> str:
    return Path("/proc/net/dev").read_text()
