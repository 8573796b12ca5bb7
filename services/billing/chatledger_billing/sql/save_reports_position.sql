-- Save how far was reported; it never goes back, even where the relay begins anew.
INSERT INTO billing.reports AS old (name, position) VALUES ('chat.inbound', %s)
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE old.position < excluded.position
