"""Alerts: failures are told to people through the addresses of `alerts:`.

Belongs here: `message` writes a message, `sending` sends it, `routes` has the addresses and their faults.
Not here: the judgement that something is wrong (`health`), and Dagster's sensors (`orchestration`).
"""
