"""The command line, above every service."""
