"""Rules of frameworks: whether their lines fit the tables that the frameworks make, and what a merge does with them.

Belongs here: the tables as each tool writes them (`schemas/`), and scenarios of rules. Not here: scenarios of a merge.
"""
