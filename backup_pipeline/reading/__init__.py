"""Reading a backup without restoring it: tables as data frames, rows as tuples, SQL over any of them."""
