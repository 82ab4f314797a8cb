"""Dagster as a skin: what the graph shows, when it runs, whom it tells. What a backup *is* stands elsewhere.

    naming         keys and names, and how the name of any table becomes one
    metadata       a manifest, a report, a history → what the UI renders
    assets         schema, tables, manifest: the two steps of a backup
    drills         the drill asset
    asset_checks   what is held against a backup, and whether it is fresh and proven
    jobs           backup_<system>, drill_<system> · schedules: when they run
    sensors        pending_migrations_<system>, watch · alerts: failure_alert
    instance       the Dagster home on this machine · launch: run a job in it · ui: serve it

`backup_pipeline.definitions` puts them together. Every function here calls `Site`, as the CLI does, so that
the two cannot come to differ. Nothing connects to a database when definitions load.
"""
