"""What is checked out beside the configuration."""

from __future__ import annotations

from pathlib import Path


def git_revision(folder: Path) -> str | None:
    """The commit that is checked out where the configuration lies, read from the files of git."""
    for parent in (folder, *folder.parents):
        head = parent / ".git" / "HEAD"
        if head.is_file():
            text = head.read_text().strip()
            if not text.startswith("ref: "):
                return text or None
            name = text.removeprefix("ref: ")
            loose = parent / ".git" / name
            if loose.is_file():
                return loose.read_text().strip() or None
            packed = parent / ".git" / "packed-refs"
            lines = packed.read_text().splitlines() if packed.is_file() else []
            return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
    return None
