"""The live things that are protected. One engine, one file; `base` is what they all promise."""
