"""What several tests and benchmarks share: real brokers and databases, and other stand-ins for the outside."""
