"""Dagster as a skin.

Belongs here: the graph, its runs, and the history that it shows. Not here: the verbs, which are in `operations`.

    naming         keys and names, and the name of any table as one of them
    asset_plan     the assets of a system · graph: the one place that makes a Definitions
    assets         schema, tables, manifest · trees, copies, drills, maintenance: the other assets
    asset_checks   the checks of a backup · metadata: the figures and tables that the UI shows
    sensors        pending_migrations_<system>, watch · history · alerts, incidents, subjects: failure_alert
    instance       the Dagster home on this machine · launch: run a job in it · ui: serve it

`backup_pipeline.definitions` loads them. A step calls the same function of `operations` as the CLI. Nothing connects to a
database while definitions load.
"""
