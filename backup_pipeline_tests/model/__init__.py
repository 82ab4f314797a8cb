"""Tests of what the product talks about."""
