"""How to sign in to services that are both a store and a source of files: one file a service."""
