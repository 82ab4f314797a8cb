"""Processes of this machine: pools of workers, interruption by a signal, private folders, the patience of long work.

Nothing here knows a database or a vault.
"""
