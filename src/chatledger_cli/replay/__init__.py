"""Replay: history to a file, a topic or a table, at any pace, and on from where it was; it can never send."""
