"""`make bench`: how fast, how small, how much memory, always beside the peer in the same run.

These machines are noisy, so every figure is a median over interleaved runs and what counts is the ratio.
Nothing here is asserted: a benchmark informs, it does not fail.
"""
