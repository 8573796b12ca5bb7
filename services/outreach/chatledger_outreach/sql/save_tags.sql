-- Note a client's tags.
UPDATE outreach.clients SET tags = %s, tags_version = %s WHERE conversation = %s
