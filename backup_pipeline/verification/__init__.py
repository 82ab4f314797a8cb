"""Looks at what was stored and at what should have been: verification, references, drift, freshness."""
