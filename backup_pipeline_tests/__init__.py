"""The tests of backup_pipeline: real engines, real files, promises as names."""
