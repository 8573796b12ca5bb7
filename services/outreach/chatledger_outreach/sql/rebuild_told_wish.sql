-- A client's wish was granted.
UPDATE outreach.wishes SET told = true WHERE conversation = %s AND sku = %s
