"""Every benchmark, one after another: `make bench`. One JSON line each; a name as argument runs only that one."""

from __future__ import annotations

import sys

from benchmarks import campaign, dialog, ingress, line, matching

BENCHMARKS = {
    "ingress": ingress.run,
    "dialog": dialog.run,
    "line": line.run,
    "matching": matching.run,
    "campaign": campaign.run,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all. Returns the exit code."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
