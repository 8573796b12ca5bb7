"""The ingress: verifies, parses and publishes webhooks, and answers once the broker has them."""
