"""Three zones of one RGW realm, each with a cluster of its own: what replicates a bucket between three centres.

Writing is allowed in the master zone alone: the others are `read_only` in the period, which the gateways keep. Zones
know each other by the gateways that fetch, for these are also told at once of what was written.
"""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.lab import layout
from orchestrator.lab.ceph import GATEWAYS, REALM, ZONEGROUP, Cluster
from orchestrator.lab.state import LabState

FENCED = "fenced"
"""Marks a zone that nothing starts but `unfence` and `rejoin`."""
SYSTEM = ("DRCTLSYSTEM", "lab-secret-of-the-system-user")
USER = ("DRCTLUSER", "lab-secret-of-an-application")
"""Access key and secret; they open nothing but this throw-away realm on loopback."""


class Realm:
    """The zones of a lab, a centre each; they end with it."""

    def __init__(self, lab: LabState) -> None:
        self.zones = {centre: Cluster(lab, centre) for centre in layout.CENTRES}

    def up(self) -> None:
        """Bring all zones up; a is the master."""
        self._storage()
        first, *others = self.zones.values()
        self._master(first)
        for zone in others:
            self._follower(zone, first)

    def _storage(self) -> None:
        """Monitors and OSDs of all zones, at the same time; and what an operator would have beside them."""
        with ThreadPoolExecutor(len(self.zones)) as pool:
            list(pool.map(Cluster.make, self.zones.values()))
        for zone in self.zones.values():
            for verb, text in commands(zone).items():
                script(zone, verb).write_text(text)

    def _master(self, zone: Cluster) -> None:
        zone.admin("realm", "create", f"--rgw-realm={REALM}", "--default")
        group = (f"--rgw-zonegroup={ZONEGROUP}", f"--endpoints=http://{zone.sync_address}")
        zone.admin("zonegroup", "create", *group, "--master", "--default")
        zone.admin("zone", "create", *group, f"--rgw-zone={zone.name}", *_keys(SYSTEM), "--master", "--default")
        zone.admin("user", "create", "--uid=sync", "--display-name=sync", *_keys(SYSTEM), "--system")
        zone.admin("user", "create", "--uid=app", "--display-name=app", *_keys(USER))
        zone.admin("caps", "add", "--uid=app", "--caps=zone=read;datalog=read;bilog=read;buckets=read")
        zone.admin("period", "update", "--commit")
        zone.start(*GATEWAYS)

    def _follower(self, zone: Cluster, master: Cluster) -> None:
        # It learns the period before its gateways start, or they would act by another.
        zone.admin("realm", "pull", f"--url=http://{master.address}", "--default", *_keys(SYSTEM))
        words = (f"--rgw-zonegroup={ZONEGROUP}", f"--rgw-zone={zone.name}", f"--endpoints=http://{zone.sync_address}")
        zone.admin("zone", "create", *words, *_keys(SYSTEM), "--read-only", "--default")
        zone.admin("period", "update", "--commit")
        zone.start(*GATEWAYS)


def commands(zone: Cluster) -> dict[str, str]:
    """What an operator would have on a host of the zone: scripts that may be run twice. They see DRCTL_SOURCE."""
    admin = f"timeout 120 radosgw-admin -c {zone.conf}"
    keys = " ".join(_keys(SYSTEM))
    only = (
        "import json,sys; g = json.load(sys.stdin); me = sys.argv[1]\n"
        "for z in g['zones']: z['read_only'] = str(z['name'] != me).lower()\n"
        "g['master_zone'] = next(z['id'] for z in g['zones'] if z['name'] == me); json.dump(g, sys.stdout)"
    )
    start = {daemon: _start(zone, daemon) for daemon in GATEWAYS}
    both, stop = "".join(start.values()), "".join(_end(zone, daemon) for daemon in GATEWAYS)
    fenced = zone.folder / FENCED
    return {
        # The master zone alone is writable; said in one period, so that every zone learns both at once. What others
        # still hold comes to the new master from then on: what its users write is not undone by it, for the later wins.
        # A gateway that did not outlive the new period (16.2 may crash there) is started again, as systemd would.
        "promote": f"{admin} zone modify --rgw-zone={zone.name} --master --default >/dev/null\n"
        f'{admin} zonegroup get | python3 -c "{only}" {zone.name} | {admin} zonegroup set >/dev/null\n'
        f"{admin} period update --commit >/dev/null\n{both}",
        "demote": f"{admin} zone modify --rgw-zone={zone.name} --read-only=true >/dev/null\n"
        f"{admin} period update --commit >/dev/null\n",
        "fence": f"touch {fenced}\n{stop}",
        "unfence": f"rm -f {fenced}\n{both}",
        "stop": stop,
        "start": f"if [ -e {fenced} ]; then echo 'fenced: unfence or rejoin it' >&2; exit 1; fi\n{both}",
        # Ended kindly, for what is killed leaves leases and watches behind, on which its successor waits for 20 s.
        "detach": _end(zone, "sync", "TERM"),
        "attach": start["sync"],
        # Before its gateway starts it learns what it missed: an old master with an old period takes writes of its own.
        "rejoin": f"{admin} realm pull --url=http://$DRCTL_SOURCE --default {keys} >/dev/null\n"
        f"rm -f {fenced}\n{_end(zone, 'rgw', 'TERM')}{_end(zone, 'sync', 'TERM')}{both}",
    }


def script(zone: Cluster, verb: str) -> Path:
    """Where the command of a verb lies."""
    return zone.folder / f"{verb}.sh"


def _alive(zone: Cluster, daemon: str) -> str:
    """Whether a daemon runs, and is this zone's; a zombie has no command line."""
    return f"grep -qsF {shlex.quote(str(zone.conf))} /proc/$(cat {zone.pid_file(daemon)})/cmdline"


def _start(zone: Cluster, daemon: str) -> str:
    words = shlex.join(zone.command_of(daemon))
    return (
        f"if ! {_alive(zone, daemon)}; then\n"
        f"  setsid {words} </dev/null >>{zone.log(daemon)} 2>&1 &\n"
        f"  echo $! >{zone.pid_file(daemon)}\nfi\n"
    )


def _end(zone: Cluster, daemon: str, sign: str = "KILL") -> str:
    """End a daemon and wait for its end; one that does not end in time is killed."""
    kill = f"kill -{{}} $(cat {zone.pid_file(daemon)})"
    return (
        f"if {_alive(zone, daemon)}; then {kill.format(sign)}; fi\n"
        f"for _ in $(seq 100); do {_alive(zone, daemon)} || break; sleep 0.05; done\n"
        f"if {_alive(zone, daemon)}; then {kill.format('KILL')}; fi\n"
        f"while {_alive(zone, daemon)}; do sleep 0.05; done\n"
    )


def _keys(pair: tuple[str, str]) -> tuple[str, str]:
    return f"--access-key={pair[0]}", f"--secret={pair[1]}"
