"""Crm: keeps stock and prices like those in a project's CRM, and hands it the orders."""
