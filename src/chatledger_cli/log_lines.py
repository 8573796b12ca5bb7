"""Log lines for people: a service's JSON line as time, level, event and the rest."""

from __future__ import annotations

from typing import Any

import orjson

LEFT_OUT = frozenset({"timestamp", "level", "event", "service"})


def readable(line: str) -> str:
    """Return a JSON log line in readable form; any other line as it is."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if not isinstance(fields, dict) or "event" not in fields:
        return line
    time = str(fields.get("timestamp", ""))[11:23]
    rest = " ".join(f"{name}={_short(value)}" for name, value in fields.items() if name not in LEFT_OUT)
    return f"{time} {fields.get('level', ''):<7} {fields['event']} {rest}".rstrip()


def _short(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
