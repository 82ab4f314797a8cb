"""Fixtures for every test. They live beside what they are about, in `harness/`; this file only offers them."""

import signal

from hypothesis import settings

from backup_pipeline_tests.harness.backups import torture
from backup_pipeline_tests.harness.engines import (
    make_pg_database,
    pg_database,
    pg_major_database,
    pg_major_server,
    pg_server,
    pg_servers,
    sqlite_file,
)
from backup_pipeline_tests.harness.fake_dropbox import dropbox_process, fake_dropbox
from backup_pipeline_tests.harness.listening import hook, mailbox
from backup_pipeline_tests.harness.sftp_server import openssh, proftpd, rclone_sftp, whole_files_sftp
from backup_pipeline_tests.harness.stores import (
    ministack_server,
    moto_server,
    rclone_server,
    s3_server,
    strict_moto_server,
)

__all__ = [
    "dropbox_process",
    "fake_dropbox",
    "hook",
    "mailbox",
    "make_pg_database",
    "ministack_server",
    "moto_server",
    "openssh",
    "pg_database",
    "pg_major_database",
    "pg_major_server",
    "pg_server",
    "pg_servers",
    "proftpd",
    "rclone_server",
    "rclone_sftp",
    "s3_server",
    "sqlite_file",
    "strict_moto_server",
    "torture",
    "whole_files_sftp",
]

# What a shell without job control starts in the background ignores SIGINT, and so would every program that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two shared cores: an example's wall time says nothing about the code.
settings.register_profile("backup_pipeline", deadline=None, print_blob=True)
settings.load_profile("backup_pipeline")
