"""Whole stories on real databases: promises that always hold."""
