"""The line that a benchmark prints."""

from __future__ import annotations

import json


def report(name: str, unit: str, ours: float, peer: float | None, peer_name: str | None) -> None:
    """Print one JSON line: `{name, unit, ours, peer, peer_name, ratio}`. The ratio is ours by the peer's."""
    line = {
        "name": name,
        "unit": unit,
        "ours": round(ours, 3),
        "peer": None if peer is None else round(peer, 3),
        "peer_name": peer_name,
        "ratio": None if not peer else round(ours / peer, 3),
    }
    print(json.dumps(line), flush=True)
