"""Tables of the team's store, beside those of the durable-execution library; made on first use. SQL text only."""

from __future__ import annotations

LOCK = 0x6472_6374
"""Advisory lock under which the tables are made: two controllers may be the first at once."""

CREATE = """
create schema if not exists drctl;
create table if not exists drctl.epochs (
  only_one boolean primary key default true check (only_one),
  epoch bigint not null);
insert into drctl.epochs (epoch) values (0) on conflict do nothing;
create table if not exists drctl.runs (
  run text primary key,
  estate text not null,
  plan text not null,
  topology text not null,
  approvals text not null,
  before text not null,
  manner text not null default '',
  made_at timestamptz not null default clock_timestamp());
create table if not exists drctl.journal (
  run text not null references drctl.runs,
  seq integer not null,
  line text not null,
  shipped_at timestamptz not null default clock_timestamp(),
  primary key (run, seq));
create table if not exists drctl.leases (
  run text primary key references drctl.runs,
  owner text not null,
  centre text not null,
  epoch bigint not null,
  length_s double precision not null,
  taken_at timestamptz not null default clock_timestamp(),
  renewed_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  look text not null default '');
create table if not exists drctl.takeovers (
  run text not null references drctl.runs,
  epoch bigint not null,
  owner text not null,
  centre text not null,
  from_owner text not null,
  approved_by text[] not null,
  at timestamptz not null default clock_timestamp(),
  primary key (run, epoch));
create table if not exists drctl.workers (
  centre text primary key,
  worker text not null,
  address text not null,
  beat_at timestamptz not null default clock_timestamp());
"""
