"""S3: `store` is the store, the other modules are its parts, `bucket` sets a bucket up."""
