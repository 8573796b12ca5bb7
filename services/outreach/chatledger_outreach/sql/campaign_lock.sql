-- One campaign, which nobody else decides about until the end of this transaction.
SELECT * FROM outreach.campaigns WHERE id = %(id)s FOR UPDATE
