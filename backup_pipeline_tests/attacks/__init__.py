"""One file an actor of docs/THREATS.md. Each test is an attack; its docstring says what the attack gained before it was mended.

Races are driven by the test: it holds one session between two statements. No test here depends on luck.
"""
