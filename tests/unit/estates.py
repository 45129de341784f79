"""A small valid estate as text, for tests that make one mistake in it, and the kinds that it names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.loader import read_topology
from orchestrator.model.topology import Kind, Nature, Topology
from orchestrator.yamlfile import parse_yaml

KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="postgresql", nature=Nature.REPLICATED, params=("pgdata", "port", "database")),
        Kind(name="http-app", nature=Nature.ACTIVE, params=("workdir",)),
        Kind(name="haproxy", nature=Nature.ROUTE, params=("admin_socket",)),
        Kind(name="mysql", nature=Nature.REPLICATED, params=("channel",)),
        Kind(name="s3-bucket", nature=Nature.REPLICATED, params=("bucket",)),
        Kind(name="block-volume", nature=Nature.REPLICATED, params=("volume_type",)),
        Kind(name="openstack-server", nature=Nature.ACTIVE, params=("flavor",)),
        Kind(name="dns", nature=Nature.ROUTE, params=("zone", "ttl")),
    )
}

SMALL = """\
estate: small
name: {en: Small estate, zh: 小环境}
sites:
  near: {en: Near, zh: 近}
  far: {en: Far, zh: 远}
centres:
  a: {site: near, role: production, name: {en: A, zh: A中心}}
  b: {site: near, role: metro, name: {en: B, zh: B中心}}
  c: {site: far, role: remote, name: {en: C, zh: C中心}}
links:
  a-b: {ends: [a, b], rtt_max: 2ms, name: {en: A to B, zh: A到B}}
layouts:
  a-first: {home: a, peer: b}
  b-first: {home: b, peer: a}
defaults:
  layout: a-first
  tier: 2
  owner: {en: Owner, zh: 负责人}
  filing: "PLACEHOLDER-{system}"
  centre_loss: {rto: 1m, rpo: 0s}
  site_loss: {rto: 5m, rpo: 60s}
templates:
  standard:
    services:
      db:
        kind: postgresql
        roles: {home: primary, peer: standby, c: standby}
        address: "{system}-{service}.{centre}.test:5432"
        params: {port: 5432}
        replications:
          - {from: home, to: peer, mode: sync}
          - {from: peer, to: c, mode: async, lag_max: 30s}
      app:
        kind: http-app
        serves: db
        roles: {home: primary, peer: primary, c: standby}
        address: "{system}-{service}.{centre}.test:8080"
      entry:
        kind: haproxy
        serves: app
        roles: {edge: primary}
systems:
  first:
    name: {en: First, zh: 第一}
    template: standard
  second:
    name: {en: Second, zh: 第二}
    template: standard
    layout: b-first
    depends_on: [first, pools]
groups:
  pools:
    name: {en: Pools, zh: 资源池}
    template: standard
    system_id: "pool-{member}"
    system_name: {en: "{name} pool", zh: "{name}资源池"}
    owner: {en: "{name} office", zh: "{name}办公室"}
    members:
      east: {en: East, zh: 东}
      west: {en: West, zh: 西, layout: b-first, tier: 3, centre_loss: {rto: 2m, rpo: 5s}}
"""


def load(text: str = SMALL) -> Topology:
    """The topology of a text; positions name `t.yaml`."""
    return read_topology(parse_yaml(text, Path("t.yaml")), KINDS)


def changed(old: str, new: str, text: str = SMALL) -> str:
    """The text with exactly one occurrence replaced; a typo in a test must not test nothing."""
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)
