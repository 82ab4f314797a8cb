"""`files:` of a system: the file trees that share its recovery points, and what its rows say about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from backup_pipeline.config.references import Deferred, Secret
from backup_pipeline.config.strict import Strict
from backup_pipeline.config.values import Duration, Glob, Size

#: What the rows of a table may say of the files that they name, each in a column of its own.
SAYS = ("sha256", "sha1", "md5", "size")
#: How the value of a column names a file.
ReferenceKind = Literal["path", "url", "key", "json"]


#: Which settings mean something for which kind of tree only.
_ONLY = {
    "bucket": ("endpoint", "region", "profile", "access_key_id", "secret_access_key"),
    "dropbox": ("namespace", "select_user", "token", "refresh_token", "app_key", "app_secret"),
}
_BUCKET = re.compile(r"s3://[A-Za-z0-9._-]+(/.*)?")
#: `.dwg` · `image/*` · application/pdf
_TYPE = re.compile(r"\.[^\s/*?]+|[^\s/]+/[^\s/]+")


class ReferenceSettings(Strict):
    """A column whose values name files of the tree."""

    #: path: relative to the tree, as a Django FileField writes it · url: `base` and a path · key: of a bucket, with
    #: or without its prefix · json: an array of paths, or of objects that have one under `field`
    kind: ReferenceKind = "path"
    #: What stands before the path in each value; it is taken off. `https://cdn.example.com/media/`
    base: str = ""
    #: json: the name under which an object holds the path.
    field: str = ""
    #: Columns of the same table (`table.column`) that say what the file should be.
    sha256: str | None = None
    sha1: str | None = None
    md5: str | None = None
    size: str | None = None
    #: How bad it is when a value names no file, or a file that is not what the row says. `warning` accepts those that there
    #: are: only more of them are worth one.
    missing: Literal["error", "warning"] = "error"

    @property
    def says(self) -> dict[str, str]:
        """What rows say of their files → the column that says it."""
        return {name: column for name in SAYS if (column := getattr(self, name))}

    @model_validator(mode="before")
    @classmethod
    def _a_kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class FilesSettings(Strict):
    #: A local folder …
    path: Deferred | None = None
    #: … or single files and patterns, from the folder of this configuration …
    paths: tuple[Glob, ...] = ()
    #: … or s3://bucket/prefix …
    bucket: Deferred | None = None
    #: … or a folder of Dropbox.
    dropbox: str | None = None
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    #: `table.column` → how it names files; `sha256`, `sha1`, `md5` and `size` → the columns that say what the file should be.
    refs: Mapping[str, ReferenceSettings] = Field(default_factory=dict)
    #: file_policy: what a file of this tree may be.
    max_size: Size | None = None
    types: tuple[str, ...] = ()
    #: ignore: files that no row names are not worth a word (thumbnails, caches)
    orphans: Literal["report", "ignore"] = "report"
    #: Every file is read again, also with equal times, when the last full reading is older than this.
    rehash_after: Duration = 30 * 86400
    # bucket
    endpoint: Deferred | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    # dropbox
    namespace: str | None = None
    select_user: str | None = None
    token: Secret | None = None
    refresh_token: Secret | None = None
    app_key: str | None = None
    app_secret: Secret | None = None

    @field_validator("paths")
    @classmethod
    def _below_the_configuration(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Another pattern would match nothing, and an empty tree looks like success."""
        for pattern in value:
            if pattern.startswith("~") or ".." in pattern.split("/"):
                raise ValueError(
                    f"{pattern} is not below the folder of this file; another folder is a tree of its own: "
                    "`path:` with `include:`"
                )
        return value

    @field_validator("refs", mode="before")
    @classmethod
    def _said_once_for_a_table(cls, value: Any) -> Any:
        """`sha256: orders.checksum` beside `orders.file: path` is said of every reference of that table."""
        if not isinstance(value, Mapping):
            return value
        said = {name: column for name, column in value.items() if name in SAYS}
        found = {}
        for column, reference in value.items():
            if column in said:
                continue
            if "." not in str(column):
                raise ValueError(f"{column!r} is not table.column")
            plain = {"kind": reference} if isinstance(reference, str) else reference
            table = str(column).rpartition(".")[0]
            own = {name: other for name, other in said.items() if str(other).rpartition(".")[0] == table}
            found[column] = {**own, **plain} if isinstance(plain, Mapping) else plain
        tables = {str(column).rpartition(".")[0] for column in found}
        for name, other in said.items():
            if str(other).rpartition(".")[0] not in tables:
                raise ValueError(f"{name}: {other} is of a table of which no reference is named")
        return found

    @model_validator(mode="after")
    def _one_place(self) -> FilesSettings:
        places = [self.path is not None, bool(self.paths), self.bucket is not None, self.dropbox is not None]
        if sum(places) != 1:
            raise ValueError("a file tree is one of path, paths, bucket or dropbox")
        for kind, names in _ONLY.items():
            strange = sorted(self.model_fields_set.intersection(names))
            if strange and getattr(self, kind) is None:
                raise ValueError(f"{', '.join(strange)} means nothing for a file tree without `{kind}:`")
        if self.paths and self.include:
            raise ValueError("`paths:` says already what is taken; leave `include:` away")
        return self

    @model_validator(mode="after")
    def _fits_the_address(self) -> FilesSettings:
        if self.bucket is None or self.bucket.problem is not None or self.bucket.is_asked_later:
            return self
        if not _BUCKET.fullmatch(self.bucket.get()):
            raise ValueError(
                "bucket is written as s3://bucket/prefix; the server is named by `endpoint:`, and keys by "
                "access_key_id and secret_access_key"
            )
        return self

    @field_validator("types")
    @classmethod
    def _a_type_or_a_suffix(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _TYPE.fullmatch(one):
                raise ValueError(f"{one!r} is neither a type (application/pdf, image/*) nor a suffix (.dwg)")
        return value

    @property
    def secrets(self) -> tuple[str, ...]:
        found = (
            self.access_key_id,
            self.secret_access_key,
            self.token,
            self.refresh_token,
            self.app_secret,
        )
        return tuple(part for secret in found if secret is not None for part in secret.parts)
