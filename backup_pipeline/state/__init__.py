"""The state folder of this machine: the log of acts, the inventories. A lost state folder loses no backup.

Belongs here: every path below the state folder, and the files that this machine remembers. Not here: anything that a
restore needs.
"""
