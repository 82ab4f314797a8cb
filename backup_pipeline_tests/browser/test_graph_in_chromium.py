"""The graph as people see it: a headless Chromium opens the UI, runs a backup there, and reads what it shows.

Screenshots are taken where $BACKUP_SCREENSHOTS names a folder; those in docs/images were taken by this test.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import FloatRect, Page, expect, sync_playwright

from backup_pipeline.demo.shop_postgres import Shop
from backup_pipeline.operations import Site
from backup_pipeline.operations.listing import listed
from backup_pipeline.operations.reading import show
from backup_pipeline.orchestration.ui import serve
from backup_pipeline_tests.harness.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.server]

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)
CHECKS = (
    "complete",
    "integrity",
    "row_counts",
    "foreign_keys",
    "schema_drift",
    "files",
    "references",
    "file_policy",
    "fresh",
    "proven",
    "verdict",
)


# A machine that does other things as well paints late; Playwright's five seconds are for quiet ones.
expect.set_options(timeout=45_000)


@dataclass(frozen=True)
class Ui:
    address: str
    site: Site


class Pictures:
    """Screenshots for the documentation, where they are asked for: taken when all has been painted."""

    def __init__(self, page: Page) -> None:
        self.page, self.folder = page, os.environ.get("BACKUP_SCREENSHOTS")

    def __call__(self, name: str, clip: FloatRect | None = None) -> None:
        if self.folder:
            self.page.wait_for_timeout(3000)
            self.page.screenshot(path=Path(self.folder) / f"{name}.png", clip=clip)


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


def hour_of_the_backup() -> int:
    """Two in the night, unless that is now: the schedule would begin a second backup while the test looks at its own."""
    return 14 if 1 <= datetime.now(ZoneInfo("Europe/Berlin")).hour <= 4 else 2


@pytest.fixture
def ui(pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ui]:
    """The demo's shop on PostgreSQL, inventoried, never backed up, behind the UI."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    Shop(pg_database, tmp_path / "media").open_for_business()
    monkeypatch.setenv("DATABASE_URL", pg_database)
    hour = hour_of_the_backup()
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\ncopies: {second_disk: ./second-disk}\nretention: {daily: 30}\n"
        "systems:\n  shop:\n    database: ${env:DATABASE_URL}\n"
        "    files:\n      media: {path: ./media, types: [image/*, application/pdf], orphans: ignore,\n"
        "        refs: {product_images.file: path, sha256: product_images.checksum}}\n"
        f'    schedule: "0 {hour} * * *"\n    drill_schedule: "0 {hour + 2} * * 0"\n    timezone: Europe/Berlin\n'
        "    owners: [team:platform]\n    groups: {money: [orders, order_items, payments]}\n    exclude: [audit_log]\n"
    )
    monkeypatch.setenv("BACKUP_CONFIG", str(tmp_path / "backup.yaml"))
    site = Site.load(tmp_path / "backup.yaml")
    site.inventory("shop")
    port = free_port()
    up, stop = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(serve, site, port=port, stop=stop, say=lambda _: up.set())
        served.add_done_callback(lambda _: up.set())
        try:
            assert up.wait(120)
            if not served.done():
                yield Ui(f"http://127.0.0.1:{port}", site)
        finally:
            stop.set()
        served.result(60)


@pytest.fixture
def page(chromium: str, tmp_path: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            headless=True,
            args=list(ARGUMENTS),
            viewport={"width": 1440, "height": 900},
        )
        context.set_default_timeout(60_000)
        yield context.pages[0] if context.pages else context.new_page()
        context.close()


@pytest.mark.timeout(600)
def test_a_backup_is_run_and_read_in_the_browser(ui: Ui, page: Page) -> None:
    picture = Pictures(page)
    group = f"{ui.address}/locations/backup_pipeline/asset-groups/shop"

    # The graph, before anything ran.
    page.set_viewport_size({"width": 1800, "height": 1900})  # all of the graph at once
    page.goto(group)
    for name in ("manifest", "drill", "schema", "public.orders", "media", "second_disk"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    picture("graph-new")
    page.set_viewport_size({"width": 1440, "height": 900})

    # Backup and drill, from the graph's own button.
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Launched run").first.wait_for()
    page.goto(f"{ui.address}/runs")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=180_000)
    picture("runs")
    (backup,) = ui.site.vault.ids("shop")
    assert listed(ui.site, "shop", backup).proven_at is not None

    page.set_viewport_size({"width": 1800, "height": 1900})
    page.goto(group)
    expect(page.get_by_text("Materialized").first).to_be_visible()
    expect(page.get_by_text("Loading...")).to_have_count(0)  # the nodes fill one after the other
    whole: FloatRect = {"x": 240, "y": 0, "width": 1560, "height": 1900}  # without the navigation
    picture("graph", clip=whole)
    page.set_viewport_size({"width": 1440, "height": 900})

    # A table: its rows and columns.
    page.goto(f"{ui.address}/assets/shop/tables/public.orders")
    rows = next(table.rows for table in show(ui.site, "shop").tables if table.name == "orders")
    expect(page.get_by_text("Row count").first).to_be_visible()
    expect(page.get_by_text(f"{rows:,}", exact=True).first).to_be_visible()
    expect(page.get_by_text("customer_id", exact=True).first).to_be_visible()
    expect(page.get_by_text("references public.customers.id").first).to_be_visible()
    picture("table")

    # A file tree: how many files, and how many of them are new.
    page.goto(f"{ui.address}/assets/shop/files/media")
    tree = show(ui.site, "shop").tree("media")
    assert tree is not None
    expect(page.get_by_text("new_files").first).to_be_visible()
    expect(page.get_by_text(str(tree.files), exact=True).first).to_be_visible()
    picture("files")

    # The copy, and its check.
    page.goto(f"{ui.address}/assets/shop/copies/second_disk")
    expect(page.get_by_text(backup).first).to_be_visible()
    picture("copy")

    # The manifest and its checks.
    page.goto(f"{ui.address}/assets/shop/manifest")
    expect(page.get_by_text(backup).first).to_be_visible()
    picture("manifest")
    page.goto(f"{ui.address}/assets/shop/manifest?view=checks")
    for name in CHECKS:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text("Succeeded")).to_have_count(len(CHECKS))
    picture("checks")

    page.goto(f"{ui.address}/automation")
    expect(page.get_by_text("backup_shop_schedule").first).to_be_visible()
    picture("automation")
