"""Every benchmark, one after another: `make bench`. One JSON line each; a name as argument runs only that one.

`ledger` runs all those of the ledger, `ledger_scale` only the long one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import uvloop

from benchmarks import campaign, dialog, ingress, ledger, line, matching

BENCHMARKS: dict[str, Callable[[], None]] = {
    "ingress": ingress.run,
    "dialog": dialog.run,
    "line": line.run,
    "matching": matching.run,
    "campaign": campaign.run,
    "ledger": lambda: uvloop.run(ledger.compare()),
    "ledger_fold": lambda: uvloop.run(ledger.fold()),
    "ledger_scale": lambda: uvloop.run(ledger.scale()),
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, with those whose names begin so, or all. Returns the exit code."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name, run in BENCHMARKS.items():
        if not names or any(name == chosen or name.startswith(f"{chosen}_") for chosen in names):
            run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
