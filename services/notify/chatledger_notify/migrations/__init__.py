"""The schema `notify`, as numbered scripts."""
