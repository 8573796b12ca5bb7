"""What stands behind the ports, one module each; only composition roots import from here."""
