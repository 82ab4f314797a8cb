"""Processes of this machine.

Belongs here: pools of workers, interruption by a signal, private folders, the patience of long work. Not here:
knowledge of a database or of a vault.
"""
