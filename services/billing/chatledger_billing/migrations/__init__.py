"""The numbered scripts that make and change the schema `billing`; a released one is never edited."""
