-- Become the only relay, for as long as this connection lives.
SELECT pg_try_advisory_lock(hashtext('chatledger outreach relay'))
