"""Whole stories on real databases: what must hold whatever happens."""
