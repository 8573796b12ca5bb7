"""Billing: orders and invoices as event-sourced aggregates."""
