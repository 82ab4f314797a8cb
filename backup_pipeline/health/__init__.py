"""Judges backups and systems: what is wrong, since when, and who accepted it. Knows no Dagster and no command line.

judging        the checks of a fresh backup, run in the same way for every caller
losses         tables and trees that lost their content, told until they are mended or accepted
file_checks    the checks of file trees
accepting      the record of findings that a person accepted (`ack`)
diagnosis      what an error means where there are copies, and what to do about it
open_findings  errors and warnings of a backup, and of a system, that no later look has ended
"""
