-- Save how far the relay has come.
INSERT INTO billing.relay (name, position) VALUES ('chat.billing', %s)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
