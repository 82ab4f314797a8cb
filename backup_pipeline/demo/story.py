"""The story of the demo, step by step: protect two systems, trade, break, restore, lose the vault as well, prove; then rows go
back into the living systems (`living`).

It ends with an exit code: 0 only when what came back is what was there, and a drill says so too.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline import config
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.demo import media
from backup_pipeline.demo.blog_sqlite import Blog
from backup_pipeline.demo.living import Life, Living, move_media, table
from backup_pipeline.demo.shop_postgres import DISASTER, LOST_FOLDERS, Shop
from backup_pipeline.drills import DrillReport
from backup_pipeline.errors import ConfigError, ProofFailed
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import BackupOrder, CopyOrder, FilesOrder, RestoreOrder, VerifyOrder
from backup_pipeline.operations import Site, files
from backup_pipeline.operations.copy import copy_to
from backup_pipeline.operations.listing import list_backups, listed
from backup_pipeline.operations.reading import show
from backup_pipeline.operations.restore import restore
from backup_pipeline.operations.verify import verify
from backup_pipeline.vault import crypto

Say = Callable[[str], None]

_MARK = ".backup-pipeline-demo"

CONFIG = """\
# The demo's configuration: two systems, their files, a second disk, and a key without which nothing can be read.
vault: ./vault
copies:
  second_disk: ./second-disk
encryption:
  recipients: [{public}]
  identity: ${{file:demo.key}}
retention: {{last: 7, daily: 30, monthly: 12}}
# Who is told when something fails: here the log of this machine, in your own configuration a person.
alerts: ["syslog://"]
systems:
  shop:
    database: ${{file:database-url}}
    # The demo makes its backups by hand, and its PostgreSQL server ends with it: so no schedule, and a longer promise.
    # schedule: "0 2 * * *"
    fresh_within: 30d
    timezone: Europe/Berlin
    exclude: [audit_log]
    files:
      media:
        path: ./shop-media
        refs: {{product_images.file: path, sha256: product_images.checksum, size: product_images.bytes}}
        types: [image/*, application/pdf]
        max_size: 5MB
        orphans: ignore
    groups:
      catalog: [products, product_images, files/media]
      sales: [customers, orders, order_items, payments]
    invariants:
      every payment is the sum of its items: >
        SELECT p.id FROM public.payments AS p JOIN public.order_items AS i USING (order_id)
        GROUP BY p.id, p.amount HAVING p.amount <> sum(i.total)
  blog:
    database: sqlite:///blog/blog.db
    # schedule: "30 2 * * *"
    fresh_within: 30d
    files:
      uploads:
        path: ./blog/uploads
        refs: {{posts.picture: path, sha256: posts.picture_sha256}}
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """What the demo found, for `--json` and for the test that runs it."""

    folder: str
    before: dict[str, str]
    broken: dict[str, str]
    restored: dict[str, str]
    first_new_order: int
    #: Of the blog, from the second disk, when the vault was gone.
    posts: int
    uploads: int
    recovery_seconds: float
    tables_compared: int
    rows_compared: int
    files_compared: int
    #: Rows that went back into the living shop and the living blog.
    shop: Life
    blog: Life
    seconds: float


def run(folder: Path, *, say: Say, fresh: bool = True) -> Ending:
    """Tell the story in `folder`, which is emptied first if it is an earlier demo's."""
    began = time.monotonic()
    _prepare(folder, fresh=fresh)
    with EmbeddedPostgres.create() as server:
        shop = Shop(server.create_database("shop"), folder / "shop-media")
        key, public = crypto.generate()
        (folder / "demo.key").touch(0o600)
        (folder / "demo.key").write_text(key, encoding="utf-8")
        (folder / "database-url").write_text(shop.url, encoding="utf-8")
        (folder / "backup.yaml").write_text(CONFIG.format(public=public), encoding="utf-8")
        site = Site(config.load(folder / "backup.yaml"))
        return _Story(site, server, shop, Blog(folder / "blog"), folder, say).tell(began)


@dataclass(frozen=True, slots=True)
class _Story:
    site: Site
    server: EmbeddedPostgres
    shop: Shop
    blog: Blog
    folder: Path
    say: Say

    def tell(self, began: float) -> Ending:
        before = self.protect()
        broken = self.break_everything()
        restored, order = self.bring_back_the_shop(before, broken)
        posts, uploads = self.bring_back_the_blog()
        drill = self.prove()
        shop, blog = self.merge()
        self.close(began)
        counted = drill.report.counted
        return Ending(
            folder=str(self.folder),
            before=before,
            broken=broken,
            restored=restored,
            first_new_order=order,
            posts=posts,
            uploads=uploads,
            recovery_seconds=drill.recovery_seconds,
            tables_compared=counted["tables"],
            rows_compared=counted["rows"],
            files_compared=counted["files"],
            shop=shop,
            blog=blog,
            seconds=time.monotonic() - began,
        )

    def protect(self) -> dict[str, str]:
        from backup_pipeline.orchestration.launch import run_backup

        say = self.say
        self.shop.open_for_business()
        self.blog.open()
        say(
            f"1. Two systems: a shop on PostgreSQL {self.server.major} with {media.count(self.shop.media)} pictures and"
            f" invoices, a blog on SQLite with {media.count(self.blog.uploads)} pictures."
        )
        first = run_backup(self.site, BackupOrder("shop"))
        say("2. First backups, encrypted, and copied to a second disk:")
        say(f"      shop  {self.described(first)}")
        say(f"      blog  {self.described(run_backup(self.site, BackupOrder('blog')))}")
        for left in first.left_out:
            say(f"      left out: {left.schema}.{left.name} ({left.reason})")
        self.shop.trade_for_a_day()
        second = run_backup(self.site, BackupOrder("shop"))
        before = self.shop.facts()
        say("3. A day later, after 300 orders and 20 invoices:")
        say(f"      shop  {self.described(second)}")
        for system in ("shop", "blog"):
            report = verify(self.site, VerifyOrder(system))
            counted = report.counted
            say(
                f"{'4. Verified:' if system == 'shop' else '':<13} {system}: {counted['objects']} objects,"
                f" {counted.get('rows', 0):,} rows, {counted.get('files', 0)} files read back; {len(report.errors)} errors"
            )
            if not report.ok:
                raise ProofFailed(report.errors[0].message, remedy=f"run `backup-pipeline verify {system}`")
        return before

    def break_everything(self) -> dict[str, str]:
        self.shop.suffer()
        broken = self.shop.facts()
        shutil.rmtree(self.blog.folder)
        self.say("5. Friday, 18:55. Someone runs a migration on the live shop, and a script cleans up:")
        for statement in DISASTER:
            self.say(f"      {statement};")
        self.say(
            f"      rm -r {' '.join(f'{folder}*' for folder in LOST_FOLDERS)}    and, by mistake: rm -r blog"
        )
        return broken

    def bring_back_the_shop(
        self, before: dict[str, str], broken: dict[str, str]
    ) -> tuple[dict[str, str], int]:
        target, folder = self.server.url("shop_restored"), self.folder / "restored"
        result = restore(self.site, RestoreOrder("shop", "latest", to=target, create=True))
        back = files.restore_files(self.site, "shop", "latest", folder, FilesOrder(trees=("media",)))
        again = Shop(target, folder)
        restored = again.facts()
        self.say(
            f"6. The shop comes back, rows and {back.files:,} files in step, in"
            f" {result.seconds['total'] + back.seconds:.1f} s:"
        )
        table(self.say, {"before": before, "broken": broken, "restored": restored})
        if restored != before:
            raise ProofFailed(
                "what came back is not what was there", remedy="this is a bug: please report it"
            )
        order = again.first_new_order()
        self.say(f"      The first order after the restore got number {order}: the sequences are right, too.")
        return restored, order

    def bring_back_the_blog(self) -> tuple[int, int]:
        """With the vault gone as well."""
        shutil.rmtree(self.folder / "vault")
        there = self.site.at("second_disk")
        self.blog.folder.mkdir()
        restore(there, RestoreOrder("blog", "latest", to=f"sqlite:///{self.blog.database}"))
        files.restore_files(there, "blog", "latest", self.blog.uploads, FilesOrder(trees=("uploads",)))
        posts, uploads = self.blog.posts(), media.count(self.blog.uploads)
        self.say(
            f"7. Then the vault's disk dies. From the second disk: the blog, {posts} posts, {uploads} pictures;"
        )
        for system in ("shop", "blog"):
            copy_to(self.site, CopyOrder(system, source="second_disk"), "vault")
        found = len(list_backups(self.site))
        self.say(f"      and the vault itself, filled again: {found} backups.")
        return posts, uploads

    def prove(self) -> DrillReport:
        self.say("8. Both verified and drilled, out of the vault that was filled again:")
        drill = self.proven("shop")
        self.proven("blog")
        self.say(f"   PROVEN      {show(self.site, 'shop').id}")
        return drill

    def merge(self) -> tuple[Life, Life]:
        shop = Shop(self.server.url("shop_restored"), self.shop.media)
        move_media(self.folder / "restored", shop)
        living = Living(self.folder, self.say)
        return living.shop(shop), living.blog(self.blog)

    def close(self, began: float) -> None:
        self.say(f"   All of this took {time.monotonic() - began:.0f} s.")
        self.say("")
        self.say(
            "Both systems are protected: backed up, copied, verified and proven, and `status` exits with 0."
        )
        self.say(
            "They have no schedule, because the shop's server ends with this demo; cron or `backup-pipeline ui` runs yours."
        )
        path = self.folder / "backup.yaml"
        self.say(
            f"Look around: backup-pipeline --config {path} list | show shop | status | prune --dry-run | ui"
        )

    def proven(self, system: str) -> DrillReport:
        """What was verified before lay in the vault that died."""
        from backup_pipeline.orchestration.launch import run_drill

        report = verify(self.site, VerifyOrder(system))
        drill = run_drill(self.site, system)
        for each, verb in ((report, "verify"), (drill.report, "drill")):
            if not each.ok:
                raise ProofFailed(each.errors[0].message, remedy=f"run `backup-pipeline {verb} {system}`")
        counted = drill.report.counted
        self.say(
            f"      {system}  {counted['tables']} tables, {counted['rows']:,} rows and {counted['files']} files compared with"
            f" the backup; recovered in {drill.recovery_seconds:.1f} s"
        )
        return drill

    def described(self, manifest: Manifest) -> str:
        line = listed(self.site, manifest.system, manifest.id)
        new = sum(tree.new_files for tree in manifest.files)
        reused = f", {line.reused_chunks} of {line.chunks} chunks unchanged" if line.reused_chunks else ""
        reused += f", {new} files new" if line.files and new < line.files else ""
        return (
            f"{line.tables} tables, {line.rows:,} rows, {line.files} files, {line.bytes / 2**20:.1f} MiB"
            f" in {line.seconds:.1f} s{reused}"
        )


def _prepare(folder: Path, *, fresh: bool) -> None:
    """An earlier demo may be replaced; another file in that folder may belong to a user."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ConfigError(
                f"{folder} is not empty and is not a demo's", remedy="name another folder with --folder"
            )
        if fresh:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
