-- Let nobody else tag a client until the transaction ends.
SELECT tags, tags_version FROM outreach.clients WHERE conversation = %s FOR UPDATE
