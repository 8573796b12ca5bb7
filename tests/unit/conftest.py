"""Hypothesis for the unit tests: the same examples in every CI run, new ones on a developer's machine."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A first example may wait for an import; and two processor cores are shared with whatever else runs.
settings.register_profile("local", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")
