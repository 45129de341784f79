"""The only reader of an estate's topology file: templates and groups expanded, every mistake named with its position.

topology = load_topology(Path("inventories/lab"), kinds)
"""

from __future__ import annotations

from orchestrator.loader.assemble import load_topology, read_topology, topology_file
from orchestrator.loader.notes import notes
from orchestrator.loader.schema import topology_schema

__all__ = ["load_topology", "notes", "read_topology", "topology_file", "topology_schema"]
