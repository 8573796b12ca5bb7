"""The numbered scripts that make and change the schema `crm`; a released one is never edited."""
