"""Tests; a package, so that helpers in tests/support have one name."""
