"""The texts that ship, one YAML file per flow. A project's file may replace any of them."""
