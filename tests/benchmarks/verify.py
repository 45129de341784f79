"""`make bench-verify`: replication verification and looks at the limit of the hardware; both sides in the same run."""

from __future__ import annotations

from tests.benchmarks.endpoints import endpoint_rows
from tests.benchmarks.measure import table


def main() -> None:
    """Run every bench and print the table."""
    print(table(endpoint_rows()))


if __name__ == "__main__":
    main()
