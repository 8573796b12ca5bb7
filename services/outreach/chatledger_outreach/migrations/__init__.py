"""The numbered scripts that make and change the schema `outreach`; a released one is never edited."""
