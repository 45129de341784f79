"""The kinds of service that this build drives, light enough for commands that contact nothing.

A provider takes its `kind` from here, so that reading a topology imports no driver.
"""

from __future__ import annotations

from orchestrator.model.topology import Kind, Nature

POSTGRESQL = Kind(
    name="postgresql",
    nature=Nature.REPLICATED,
    params=(
        "pgdata",
        "bindir",
        "host_address",
        "port",
        "user",
        "database",
        "conf",
        "os_user_prefix",
        "fence_route_command",
        "unfence_route_command",
        "bubble_app_command",
        "hba_file",
        "log_file",
        "start_command",
        "stop_command",
        "disk_query",
        "inventory_host",
        "shell",
    ),
)
HTTP_APP = Kind(
    name="http-app",
    nature=Nature.ACTIVE,
    params=("start_command", "stop_command", "workdir", "inventory_host", "shell"),
)
HAPROXY = Kind(name="haproxy", nature=Nature.ROUTE, params=("admin_socket", "admin_address", "start_command"))
S3_BUCKET = Kind(
    name="s3-bucket",
    nature=Nature.REPLICATED,
    params=(
        "named_by",
        "profile",
        "region",
        "tls",
        "promote_command",
        "demote_command",
        "fence_command",
        "unfence_command",
        "rejoin_command",
        "start_command",
        "stop_command",
        "sync_address",
        "detach_command",
        "attach_command",
        "workdir",
        "inventory_host",
        "shell",
    ),
)
NETWORK_LINK = Kind(name="network-link", nature=Nature.ROUTE, params=("circuit",))

KINDS: tuple[Kind, ...] = (POSTGRESQL, HTTP_APP, HAPROXY, S3_BUCKET, NETWORK_LINK)
