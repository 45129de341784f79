"""Three zones of one RGW realm, each with a cluster of its own: what replicates a bucket between three centres.

Writing is allowed in the master zone alone: the others are `read_only` in the period, which the gateways keep.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.ceph.cluster import Cluster

ZONES = ("a", "b", "c")
SYSTEM = ("DRCTLSYSTEM", "lab-secret-of-the-system-user")
USER = ("DRCTLUSER", "lab-secret-of-an-application")
"""Access key and secret; they open nothing but this throw-away realm on loopback."""


class Realm:
    """The zones, brought up by `up` and taken away by `down`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zones = {name: Cluster(name, folder / name) for name in ZONES}

    def up(self) -> None:
        """Bring all zones up; a is the master."""
        self._storage()
        first, *others = self.zones.values()
        self._master(first)
        for zone in others:
            self._follower(zone)

    def _storage(self) -> None:
        """Monitors and OSDs of all zones, at the same time; daemons are started by this thread alone."""
        zones = list(self.zones.values())
        for zone in zones:
            zone.folder.mkdir(parents=True)
            for name, text in commands(zone).items():
                (zone.folder / name).write_text(text)
        with ThreadPoolExecutor(len(zones)) as pool:
            list(pool.map(Cluster.prepare, zones))
            for zone in zones:
                zone.launch("mon")
            list(pool.map(lambda zone: (zone.wait_for("mon"), zone.create_osd()), zones))
            for zone in zones:
                zone.launch("osd")
            list(pool.map(lambda zone: zone.wait_for("osd"), zones))

    def down(self) -> None:
        """End every process and remove every file."""
        for zone in self.zones.values():
            zone.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _master(self, zone: Cluster) -> None:
        zone.admin("realm", "create", "--rgw-realm=drctl", "--default")
        group = ("--rgw-zonegroup=cq", f"--endpoints={zone.endpoint}")
        zone.admin("zonegroup", "create", *group, "--master", "--default")
        zone.admin("zone", "create", *group, f"--rgw-zone={zone.name}", *_keys(SYSTEM), "--master", "--default")
        zone.admin("user", "create", "--uid=sync", "--display-name=sync", *_keys(SYSTEM), "--system")
        zone.admin("user", "create", "--uid=app", "--display-name=app", *_keys(USER))
        zone.admin("caps", "add", "--uid=app", "--caps=zone=read;datalog=read")
        zone.admin("period", "update", "--commit")
        zone.start("rgw")

    def _follower(self, zone: Cluster) -> None:
        self.pull(zone, self.zones[ZONES[0]])
        words = ("--rgw-zonegroup=cq", f"--rgw-zone={zone.name}", f"--endpoints={zone.endpoint}")
        zone.admin("zone", "create", *words, *_keys(SYSTEM), "--read-only", "--default")
        zone.admin("period", "update", "--commit")
        zone.start("rgw")

    def pull(self, zone: Cluster, source: Cluster) -> None:
        """A zone learns the period of another: before its gateway starts, or it acts by the old one."""
        zone.admin("realm", "pull", f"--url={source.endpoint}", "--default", *_keys(SYSTEM))

    def part(self) -> None:
        """From now on no zone receives anything: gateways without their sync threads."""
        self._gateways("--rgw-run-sync-thread=false")

    def join(self) -> None:
        """Zones receive again."""
        self._gateways()

    def _gateways(self, *words: str) -> None:
        for zone in self.zones.values():
            zone.end_gateway()
            zone.launch("rgw", *words)
        for zone in self.zones.values():
            zone.wait_for("rgw")

    def period(self, zone: str) -> Any:
        """The period that a zone's store holds."""
        return self.zones[zone].admin("period", "get")


def commands(zone: Cluster) -> dict[str, str]:
    """What an operator would have on a host of the zone: scripts that may be run twice. They see DRCTL_SOURCE."""
    admin = f"timeout 120 radosgw-admin -c {zone.conf}"
    keys = " ".join(_keys(SYSTEM))
    only = (
        "import json,sys; g = json.load(sys.stdin); me = sys.argv[1]\n"
        "for z in g['zones']: z['read_only'] = str(z['name'] != me).lower()\n"
        "g['master_zone'] = next(z['id'] for z in g['zones'] if z['name'] == me); json.dump(g, sys.stdout)"
    )
    alive = f"grep -qs radosgw /proc/$(cat {zone.pid_file})/cmdline"  # a zombie has no command line
    start = (
        f"if ! {alive}; then\n"
        f"  setsid radosgw -n client.admin -f -c {zone.conf} </dev/null >>{zone.folder}/log/rgw.out 2>&1 &\n"
        f"  echo $! >{zone.pid_file}\nfi\n"
    )
    return {
        # The master zone alone is writable; said in one period, so that every zone learns both at once.
        "promote.sh": f"{admin} zone modify --rgw-zone={zone.name} --master --default >/dev/null\n"
        f'{admin} zonegroup get | python3 -c "{only}" {zone.name} | {admin} zonegroup set >/dev/null\n'
        f"{admin} period update --commit >/dev/null\n",
        "demote.sh": f"{admin} zone modify --rgw-zone={zone.name} --read-only=true >/dev/null\n"
        f"{admin} period update --commit >/dev/null\n",
        "stop.sh": f"kill -9 $(cat {zone.pid_file}) || true\n",
        "start.sh": start,
        # Before its gateway starts it learns what it missed: an old master with an old period takes writes of its own.
        "rejoin.sh": f"{admin} realm pull --url=http://$DRCTL_SOURCE --default {keys} >/dev/null\n"
        f"kill -9 $(cat {zone.pid_file}) || true\n"
        f"while {alive}; do sleep 0.1; done\n{start}",
    }


def _keys(pair: tuple[str, str]) -> tuple[str, str]:
    return f"--access-key={pair[0]}", f"--secret={pair[1]}"
