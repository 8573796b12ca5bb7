"""Notify: sends replies to the providers, in order per client and with retries, and fires timers."""
