"""S3 as a store.

Belongs here: `store` is the store, the other modules are its parts, `bucket` sets a bucket up. Not here: signing in
(`services`), and buckets as a source (`files/sources`).
"""
