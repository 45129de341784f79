"""JSON Schema 2020-12 of the topology file, for editors. Made of the types that the loader itself reads with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.loader.files import TopologyFile
from orchestrator.model.topology import Kind


def topology_schema(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The schema, with the kinds of service and the parameters of each.

    Leaves out what a schema cannot say: that names exist, one primary, no cycle, an RPO that can be given.
    """
    schema = msgspec.json.schema(TopologyFile)
    service = schema["$defs"]["ServiceFile"]
    service["properties"]["kind"]["enum"] = sorted(kinds)
    service["allOf"] = [_params_of(kind) for _, kind in sorted(kinds.items())]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:drctl:topology",
        "title": "drctl topology",
        **schema,
    }


def _params_of(kind: Kind) -> dict[str, Any]:
    return {
        "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
        "then": {"properties": {"params": {"propertyNames": {"enum": sorted(kind.params)}}}},
    }
