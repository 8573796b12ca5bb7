-- One invoice.
SELECT number, total_minor, currency, due_on FROM outreach.invoices WHERE id = %s
