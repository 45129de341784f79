"""The witness: a real etcd, where there is one on this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.checks.centre import centre_state
from orchestrator.model.view import WITNESS, CentreState, Sight, View
from orchestrator.team import witness
from orchestrator.team.witness import Witness, WitnessAway

ETCD = shutil.which("etcd")
pytestmark = pytest.mark.skipif(
    ETCD is None, reason="no etcd on this machine (apt install etcd-server); make needs none"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    assert ETCD is not None
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    words = [
        ETCD, "--data-dir", str(tmp_path / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    ]  # fmt: skip
    with (tmp_path / "etcd.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        until(lambda: b"true" in urllib.request.urlopen(f"{client}/health", timeout=1).read())
        yield client
    finally:
        process.kill()
        process.wait()


def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_a_worker_that_goes_silent_is_not_seen_any_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "TTL_S", 2)
    asked, a, b = (Witness((url,), "lab") for _ in range(3))
    a.keep_alive("a")
    b.keep_alive("b")

    def sights() -> dict[str, Sight]:
        b.keep_alive("b")
        return {v.centre: v.sight for v in asked.views(("a", "b"))}

    assert sights() == {"a": Sight.SEEN, "b": Sight.SEEN}
    assert {v.observer for v in asked.views(("a",))} == {WITNESS}
    assert Witness((url,), "another").views(("a",))[0].sight is Sight.UNSEEN
    until(lambda: sights() == {"a": Sight.UNSEEN, "b": Sight.SEEN})
    split = [View(observer="b", centre="a", sight=Sight.UNSEEN), View(observer="c", centre="a", sight=Sight.SEEN)]
    voters = ("a", "b", "c", WITNESS)
    assert centre_state("a", split, voters) is CentreState.UNKNOWN
    assert centre_state("a", [*split, *asked.views(("a",))], voters) is CentreState.LOST
    a.keep_alive("a")
    assert sights()["a"] is Sight.SEEN, "a key whose lease ran out is made anew"


def test_a_witness_that_is_away_has_no_view(url: str) -> None:
    dead = Witness((f"http://127.0.0.1:{free_port()}",), "lab")
    assert dead.views(("a",)) == ()
    with pytest.raises(WitnessAway):
        dead.keep_alive("a")
    second = Witness((f"http://127.0.0.1:{free_port()}", url), "lab")
    second.keep_alive("a")
    assert second.views(("a",))[0].sight is Sight.SEEN
