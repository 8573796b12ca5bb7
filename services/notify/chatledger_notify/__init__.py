"""Notify: delivers replies to the providers, and fires what is due later."""
