"""Where bytes are kept. One contract (`base`), one file a kind of store, no knowledge of what the bytes mean."""
