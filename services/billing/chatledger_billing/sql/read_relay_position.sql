-- Read how far the relay has come.
SELECT position FROM billing.relay WHERE name = 'chat.billing'
