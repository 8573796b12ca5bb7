"""The schema `access`, as numbered scripts; a released one is never edited."""
