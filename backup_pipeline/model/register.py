"""The register of all findings: the topic, the commands and the severities of each code, and the marks of some.

A stored finding holds its code, and no more: `Finding.entry` looks the rest up here, so no other module judges a finding
by letters of its code. The page FINDINGS is made from this table (`make docs`). A test compares it with the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    #: "vault", "rows", "references" … Empty: no finding of this version has the code.
    topic: str = ""
    #: The commands that make the finding: "verify", "drill" … Empty: only an earlier version made it.
    by: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()


# What code may ask of a finding, beside its topic and its severity (`finding.marked("stands")`).
_MARKS = {
    # The examples are values of rows: the command shows them, the history of runs does not get them.
    "shows_rows": "rows-differ invariant-broken dangling-reference",
    # The finding compares a count of rows.
    "counts_rows": "row-count",
    # The finding of a restore plan speaks against the backup, and not against the target.
    "against_backup": "object-missing row-count",
    # The finding speaks of an earlier backup; the backup that carries it is whole.
    "of_earlier": "objects-missing-before set-back-before",
    # The backup before this one is gone or another one. The finding ends when that backup is there again.
    "set_back": "set-back-before",
    # A warning that stays until it is mended or accepted, because the backup may not hold what people think.
    "stands": "table-became-empty table-shrank tree-empty tree-shrank migrations-unknown"
    " migrations-unreadable more-files-differ more-files-missing",
    # The source has nothing any more where it had rows or files.
    "emptied": "table-became-empty tree-became-empty",
    "table_removed": "table-removed",
    # The backup lacks a table, or the backups before it do not connect.
    "incomplete": "table-missing chain-broken",
    # The manifest names an object in a way that is not followed.
    "bad_object_name": "object-name",
    "key_missing": "key-missing",
    "not_fresh": "no-backup not-fresh",
    # There is no backup that a drill could prove.
    "nothing_to_prove": "no-backup vault-lost",
    # The loss of the vault explains the finding, and `backup` is the wrong remedy.
    "follows_from_loss": "no-backup set-back",
    "failed_drill": "drill-failed",
    "failed_verify": "verify-failed",
    # `repair` judges the same place itself, and says more.
    "told_by_repair": "copy-differs",
    # The restored rows break a rule of their table.
    "rule_broken": "rows-break-rule",
    "role_missing": "role-missing",
    # The first backup ends the finding, and so does the first copy.
    "before_first_backup": "vault-new",
    "unreachable": "vault-unreachable vault-not-a-folder",
    "not_writable": "vault-not-writable",
    # A backup warns, and `doctor` fails: there it can be corrected.
    "error_in_doctor": "migrations-unreadable",
    # `refs:` names a table or a column that the backup does not have.
    "cannot_be_asked": "reference-without-table reference-without-column",
    "lacks_table": "reference-without-table",
    # This host remembers an acknowledgement of it. The vault holds none.
    "acked_by_host": "set-back",
    "not_noted": "scrub-not-remembered",
}

# Topic | commands | severities | codes. `…-added` is a family: the kind of an object of the schema stands before the verb.
_TABLE = """
alerts | doctor, status | error | alert-address-wrong alert-unreachable no-alert-arrives
alerts | doctor, status | info | alert-not-tried
alerts | doctor, status | warning | no-alert-route
copies | copy | error | copy-differs copy-not-whole not-copied
copies | copy | info | forgotten-meanwhile trace-left
copies | copy | warning | copy-healed not-copied-beside
copies | doctor | error | copy-not-writable
copies | doctor | info | no-copies
copies | doctor | warning | copy-on-same-disk
copies | doctor, repair, status | error, warning | copy-unreachable
copies | repair | error | not-healed places-disagree
copies | repair | info | not-read-in-archive
copies | repair | warning | also-damaged
copies | status | error | copy-behind
copies | the graph | error | copy-not-pruned
copies | verify | warning | vault-object-altered
drill | backup, doctor, drill | error | invariant-fails
drill | drill | error | definition-missing definition-surplus file-differs
drill | drill | error, warning | database-differs definition-differs
drill | drill | error | invariant-broken not-sound sequence-differs sequence-fails write-fails
drill | drill | info | drill-not-enclosed not-proven nothing-in-it rights-not-compared writes-work
drill | drill | warning | sequence-behind table-not-readable
file checks | backup, doctor | error | reference-without-column reference-without-table
file checks | backup, doctor, verify | warning, info | reference-left-out
file checks | verify | error | file-is-two-things file-may-run file-name-case file-name-misleads file-name-unicode
file checks | verify | error | file-too-large file-type
file checks | verify | error, info | file-content-differs file-missing file-size-differs file-reference-not-checked
file checks | verify | error, warning | reference-checks-nothing reference-digest-unreadable
file checks | verify | info | file-digest-of-several orphan-files policy-not-checked
file checks | verify | warning | file-digest-unknown more-files-differ more-files-missing reference-unreadable
files | backup | error | database-locked file-archived file-changed file-not-downloadable file-not-taken
files | backup | error | file-silently-changed file-unreadable folder-unreadable name-not-storable name-without-file
files | backup | error | path-missing tree-became-empty
files | backup | info | backups-inside database-beside file-special file-vanished
files | backup | warning | database-copied-plainly pattern-without-file
files | backup, doctor | error | tree-unavailable
files | backup, doctor | warning | dropbox-token-ends tree-empty
files | backup, status | warning | tree-shrank
files | restore | warning | tree-incomplete
files | verify | error | block-not-named content-altered file-misplaced file-without-content hard-link-to-nothing
files | verify | error | listing-unreadable tree-fingerprint tree-totals
health | backup | error | identity-wrong
health | backup | info | not-compared
health | status | error | backup-degraded backup-missing drill-failed judged-failed last-run-failed no-backup
health | status | error | not-fresh record-unsigned set-back verify-failed verify-quick-failed
health | status | info | not-configured old-key
health | status | warning | backup-due no-schedule not-verified schedule-not-run schedule-off
health | the graph | error | not-judged
health | verify | error | nothing-kept retention-short
health | verify | warning | history-gap
keys | copy, prune, status, verify | error | signature-wrong
keys | copy, prune, status, verify | error, info | unsigned
keys | doctor | error | identity-other identity-unusable signing-key
keys | doctor | info | age-missing identity-absent identity-on-host
keys | doctor | warning | identity-readable signers-missing
keys | verify | error | key-missing
machine | backup, doctor | warning | inventory-not-kept
machine | doctor | error | clock-behind setting-refused vault-foreign vault-lies vault-not-a-folder vault-not-writable
machine | doctor | error | vault-unreachable
machine | doctor | error, warning | inodes-low
machine | doctor | info | closed-to-the-group creates-not-conditional disk no-sha256sum no-zstd rights-mended
machine | doctor | info | room-unknown vault-new
machine | doctor | warning | clock-skew disk-low key-file-open open-to-others rights-not-mended staging-low
machine | doctor | warning | state-not-writable store-nearly-full
machine | doctor, verify | error | disk-full
machine | verify | error, warning | disk-full-soon
machine | verify | warning | disk-nearly-full
proof | status | warning | never-proven proof-too-old
references | backup, doctor, verify | error, warning | dangling-reference
references | | info | foreign-key-not-checked
references | verify | info | reference-not-checked
restore | backup | warning | password-taken-out
restore | restore | error | definer-closed extension-missing file-lost in-the-way link-leads-out may-not-create
restore | restore | error | name-too-long no-database no-definitions no-folder no-space not-restored not-root
restore | restore | error | target-not-empty
restore | restore | info | dry-run-partial mode-bits-dropped newer-server own-search-path roles-as-they-were
restore | restore | info | roles-made
restore | | warning | role-missing
restore | restore | warning | collation-differs collation-not-available encoding-differs file-left not-analyzed
restore | restore | warning | older-server owner-made public-schema-stays tables-without-rows
retention | prune | error | delete-refused prune-blind prune-frozen
retention | prune | info | anomaly-accepted foreign-object
retention | prune | warning | pin-of-nothing prune-stood-still
rows | backup, status | error | table-became-empty
rows | backup, status | warning | table-shrank
rows | drill | error | rows-differ
rows | drill, restore, verify | error | row-count
rows | restore | error | rows-break-rule rows-not-restored
rows | verify | error | file-broken fingerprint integrity-check key-not-unique keys-unreadable null-not-allowed
rows | verify | error | table-unreadable
rows | verify | info | table-not-counted
rows | verify | warning | keys-not-checked
schema | backup, status | error | another-database
schema | backup, status, verify | error, warning | table-removed
schema | drill, verify | info | column-order
schema | the graph | info | not-in-the-graph
schema | verify | info | column-changed sequence-added sequence-changed sequence-removed setting-added setting-changed
schema | verify | info | setting-removed table-added …-added …-changed …-removed
schema | verify | warning | column-removed column-type engine-changed primary-key
schema | verify | warning, info | column-added column-null table-changed
source | backup, doctor | error | server-too-old witness-mismatch
source | backup, doctor | error, warning | pattern-without-table pattern-without-tree
source | backup, doctor | info | unlogged-table
source | backup, doctor | warning | ddl-incomplete invalid-index mapping-options-unread migrations-unknown
source | backup, doctor | warning | migrations-unreadable module-missing no-pg-dump not-checked not-counted
source | backup, doctor | warning | rowids-changed rule-broken search-path-needed server-too-new unlogged-on-standby
source | backup, restore | warning, info | left-out
source | doctor | error | large-objects missing-rights
source | doctor | info | always-read encoding no-incremental one-chunk-a-table read-from-a-copy symbolic-link
source | doctor | info | writers-wait
source | doctor | warning | connection-limit extension-tables few-connections foreign-tables hard-links large-wal
source | doctor | warning | locked long-transactions network-file-system nothing-selected pooler server-unpatched
source | doctor | warning | standby superuser-login writable-by-everybody
vault | backup | error | objects-missing-before set-back-before
vault | backup, copy | warning | lock-not-extended
vault | backup, doctor | error | vault-lost
vault | backup, status | error, warning | from-the-future
vault | doctor | error | lock-missing
vault | doctor | warning | setting-not-tried
vault | doctor, status | error | damaged
vault | rekey | info | rekeyed
vault | restore, verify | error | object-missing
vault | scrub | warning | scrub-not-remembered
vault | scrub, status, verify | error | manifest-missing seal-broken
vault | scrub, verify | error | manifest-unreadable
vault | status | error | vault-mark-missing
vault | status, verify | error | newest-missing
vault | status, verify | warning | proof-unreadable
vault | verify | error | byte-count chain-broken columns engine format group-unknown-table manifest-changed
vault | verify | error | manifest-misplaced manifest-not-canonical manifest-time newest-altered newest-unreadable
vault | verify | error | object-altered object-length object-name outline-altered outline-missing outline-unreadable
vault | verify | error | page-ranges recover-altered recover-missing schema-unreadable segments sequence-missing
vault | verify | error | sequence-unknown table-both table-missing table-twice table-unknown table-without-rows
vault | verify | error | vault-file-altered vault-file-missing
vault | verify | info | not-opened objects-frozen
vault | verify | warning | description-missing description-unknown foreign-folder manifest-newer not-remembered
vault | verify | warning | not-sealed
"""


def _read() -> Iterator[tuple[str, Entry]]:
    for line in _TABLE.strip().splitlines():
        topic, by, severities, codes = (part.strip() for part in line.split("|"))
        entry = Entry(topic, tuple(by.split(", ")) if by else (), tuple(severities.split(", ")))
        yield from ((code, entry) for code in codes.split())


REGISTER = dict(_read())
MARKS = {mark: frozenset(codes.split()) for mark, codes in _MARKS.items()}
_UNKNOWN = Entry()


def entry_of(code: str) -> Entry:
    """An error may be told as a finding, and another version knows other codes: such a finding has no topic."""
    return REGISTER.get(code) or REGISTER.get(f"…-{code.rpartition('-')[2]}") or _UNKNOWN
