"""Telling people that something failed, through the addresses of `alerts:`; used by the CLI and by the graph.

`message` writes what is told, `sending` sends it, `routes` are the addresses and what is wrong with them. No Dagster.
"""
