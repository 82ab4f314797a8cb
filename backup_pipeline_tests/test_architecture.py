"""The architecture as a failing check: who may import whom, where each library may be used, how long a file may be.

An import inside a function or under TYPE_CHECKING counts as well: it is a dependency all the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "backup_pipeline"
NAME = PACKAGE.name

# Low to high. A module imports from the rows above its own and from its own room; rooms of one row do not know each
# other, so no circle of rooms can begin.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("model",),
    ("processes", "services"),
    ("stores",),
    ("vault",),
    ("config",),
    ("state",),
    ("databases", "migrations"),
    ("files",),
    ("reading",),
    ("references",),
    ("verification",),
    ("backups", "restores", "retention", "copies"),
    ("drills",),
    ("health",),
    ("alerts",),
    ("operations",),
    ("orchestration",),
    ("definitions",),
    ("demo",),
    ("cli", "api", "__main__"),
)
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}

# What the rows would allow and the design forbids, by the beginning of a path: a source knows the model, and not where
# its rows end up.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "databases/postgres/export/": ("vault", "stores"),
    "databases/sqlite/export/": ("vault", "stores"),
    "files/sources/": ("vault", "stores"),
}

# `import backup_pipeline` is the facade: it stands above `operations`, and loads it only when it is asked for something.
FACADE = "__init__"
FACADE_AT_IMPORT = {"errors", "model"}

# Library → parts of the path (folders, and the file's name without .py), one of which must be there.
CONFINED: dict[str, tuple[str, ...]] = {
    "dagster*": ("orchestration/", "definitions.py"),
    "boto3": ("services/aws.py", "stores/s3/", "files/sources/bucket.py"),
    "botocore": ("services/aws.py", "stores/s3/", "files/sources/bucket.py"),
    "asyncssh": ("stores/sftp/",),
    "dropbox": ("services/dropbox.py", "stores/dropbox/", "files/sources/dropbox.py"),
    "pyrage": ("vault/crypto.py",),
    "cryptography": ("vault/age.py", "vault/signing.py"),
    "psycopg*": ("databases/postgres/", "demo/shop_postgres.py"),
    "asyncpg": ("postgres",),
    "sqlite3": ("sqlite",),
    "pymysql": ("mysql",),
    "MySQLdb": ("mysql",),
}

# The skins know the operations, and no room below them: so a CLI, a graph and a server cannot come to differ. `processes` is
# theirs as well: the signals and the patience of a process belong to the program that it runs.
SKINS = ("orchestration", "cli", "server")
SKINS_MAY = {"errors", "model", "config", "processes", "operations", "orchestration", "demo"}

LONGEST_FILE = 450
LONGEST_FUNCTION = 60
MOST_PARAMETERS = 6

MODULES = sorted(PACKAGE.rglob("*.py"))
FILES = sorted([*MODULES, *TESTS.rglob("*.py")])


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every imported name in full, wherever the statement stands; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def breaches(path: str, source: str) -> list[str]:
    """What the module at `path` (below the package, as in `stores/local.py`) imports and should not."""
    parts = path.removesuffix(".py").split("/")
    owner = parts[0]
    package = ".".join([NAME, *parts[:-1]])
    found = []
    for name in imports(ast.parse(source), package):
        root, _, rest = name.partition(".")
        for library, places in CONFINED.items():
            same = root.startswith(library[:-1]) if library.endswith("*") else root == library
            if same and not any(place in path for place in places):
                found.append(f"{path} imports {name}, which belongs in {' or '.join(places)}")
        target = rest.partition(".")[0]
        if root != NAME or target == owner or owner == FACADE:
            continue
        # Anything else that the facade offers comes from `operations`.
        rank = RANK.get(target, RANK["operations"])
        if owner not in RANK:
            found.append(f"{path}: give {owner} a row in LAYERS")
        elif rank >= RANK[owner] or any(
            path.startswith(place) and target in rooms for place, rooms in FORBIDDEN.items()
        ):
            found.append(f"{path} imports {name}: {owner} stands below {target or 'the facade'}")
    return found


def known_beyond_operations(path: Path) -> set[str]:
    """The rooms that a module of a skin imports from, and should not."""
    package = ".".join([NAME, *path.relative_to(PACKAGE).parent.parts])
    names = (name.split(".") for name in imports(ast.parse(path.read_text(encoding="utf-8")), package))
    rooms = {name[1] for name in names if name[0] == NAME and len(name) > 1}
    return rooms & RANK.keys() - SKINS_MAY - {path.relative_to(PACKAGE).parts[0]}


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: everything but the bodies of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, node.args, *filter(None, [node.returns])]
        elif isinstance(node, ast.Lambda):
            waiting.append(node.args)
        else:
            waiting += ast.iter_child_nodes(node)


def reads_environment(source: str) -> list[int]:
    names = {"environ", "environb", "getenv", "expandvars"}
    return [
        node.lineno
        for node in at_import(ast.parse(source))
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.Name) and node.id in names)
    ]


# One test looks at every file, and names every breach: a test a file would be 1,700 tests.
def test_a_module_imports_only_what_its_layer_may() -> None:
    found = [
        breach
        for path in MODULES
        for breach in breaches(str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_every_module_has_a_layer() -> None:
    top = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p.is_dir() and any(p.rglob("*.py")))}
    assert top - RANK.keys() - {FACADE} == set(), "give it a row in LAYERS"


def test_the_facade_is_light() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    # Under `if TYPE_CHECKING:` nothing is loaded.
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = [ast.Pass()]
    ran = [node for node in at_import(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    loaded = {
        name.split(".")[1]
        for node in ran
        for name in imports(ast.Module(body=[node], type_ignores=[]), NAME)
        if name.startswith(f"{NAME}.")
    }
    assert loaded <= FACADE_AT_IMPORT, "import it inside a function, or in __getattr__"


def literals(path: Path) -> Iterator[str]:
    """The strings of a module, without its docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    documents = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


def test_a_store_names_no_key_of_the_vault() -> None:
    """The folders, files and endings that `vault/layout.py` names: a store takes them as a parameter."""
    layout = " ".join(literals(PACKAGE / "vault" / "layout.py"))
    keys = set(re.findall(r"[a-z-]+/|[\w-]*\.[\w.-]*\w", layout))
    assert {"objects/", "drafts/", "lock.json", ".tsv.zst"} <= keys
    found = [
        f"{path.relative_to(PACKAGE)} names {literal!r}"
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] == "stores"
        for literal in literals(path)
        if any(key in literal for key in keys)
    ]
    assert not found, "\n".join(found)


#: They read stored content. Rows and database files of a backup are read through `vault/door.py`.
PAST_THE_DOOR = {
    f"{NAME}.vault.{module}.{name}"
    for module, name in (
        *(("objects", name) for name in ("read_blocks", "read_bytes", "opened", "unpacked")),
        *(("images", name) for name in ("read_image", "write_image")),
    )
}
#: A module that may: it proves stored bytes, moves them as they are, or reads the listings of file trees.
MAY_PASS = {"backups/rekey.py", "files/store/previous.py", "verification/integrity.py"}


def test_rows_and_database_files_are_read_through_the_doors() -> None:
    passing = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] != "vault"
        and PAST_THE_DOOR & set(imports(ast.parse(path.read_text(encoding="utf-8")), NAME))
    }
    assert passing == MAY_PASS


def test_nothing_reads_the_environment_at_import() -> None:
    found = [
        f"{path.relative_to(PACKAGE.parent)}, line {line}"
        for path in MODULES
        for line in reads_environment(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def too_big(source: str) -> list[str]:
    """The functions of a module that take too much or are too long. A decorator is no part of the length."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if len(names) - (names[:1] in (["self"], ["cls"])) > MOST_PARAMETERS:
            found.append(f"{node.name} takes {', '.join(names)}: put what belongs together into an order")
        if lines > LONGEST_FUNCTION:
            found.append(f"{node.name} has {lines} lines: split it by meaning")
    return found


def test_a_function_takes_six_parameters_and_has_sixty_lines_at_most() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {breach}"
        for path in MODULES
        for breach in too_big(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "breaches"),
    [
        ("def f(a, b, c, /, d, *, e, g): ...", 0),
        ("def f(a, b, c, /, d, *, e, g, h=1): ...", 1),
        ("class A:\n    async def f(self, a, b, c, d, e, g): ...", 0),
        ("def f():\n" + "    x = 1\n" * 59, 0),
        ("def f():\n    def g():\n" + "        x = 1\n" * 60, 2),
    ],
)
def test_a_function_that_is_too_big_is_found(source: str, breaches: int) -> None:
    assert len(too_big(source)) == breaches


def test_a_file_is_short_enough_to_read() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    found = [
        f"{path.relative_to(PACKAGE.parent)}: {lines} lines; split it by subject"
        for path, lines in lengths.items()
        if lines > LONGEST_FILE
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("stores/local.py", "from backup_pipeline.vault import layout"),
        ("stores/local.py", "from backup_pipeline import vault"),
        ("stores/local.py", "from ..vault.layout import Layout"),
        ("stores/local.py", "def f():\n    import backup_pipeline.cli.main"),
        ("stores/local.py", "from backup_pipeline import Site"),
        ("databases/postgres/export/rows.py", "from backup_pipeline.vault import Vault"),
        ("databases/sqlite/export/rows.py", "from ....vault import Vault"),
        ("verification/__init__.py", "import dagster as dg"),
        ("copies/lag.py", "from backup_pipeline.retention import prune"),
        ("cli/backup.py", "from dagster_graphql import DagsterGraphQLClient"),
        ("databases/postgres/export/rows.py", "import sqlite3"),
        ("restores/bulk.py", "import psycopg"),
        ("stores/local.py", "from boto3.session import Session"),
        ("surprise.py", "from backup_pipeline.model import Table"),
    ],
)
def test_a_breach_is_found(path: str, source: str) -> None:
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "import json"),
        ("stores/local.py", "from backup_pipeline.stores.base import Store\nfrom . import base"),
        ("vault/manifest.py", "from backup_pipeline.model.version import __version__"),
        (
            "drills/__init__.py",
            "from ..restores import plan\nfrom backup_pipeline.databases.postgres.server import EmbeddedPostgres",
        ),
        ("databases/postgres/export/rows.py", "import psycopg\nfrom psycopg.rows import tuple_row"),
        ("reading/sqlite_rows.py", "import sqlite3"),
        ("stores/s3/store.py", "import boto3\nfrom botocore.exceptions import ClientError"),
        ("definitions.py", "import dagster as dg\nfrom backup_pipeline.orchestration.assets import x"),
        ("cli/__init__.py", "from backup_pipeline import Site"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert breaches(path, source) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import os\nX = os.environ['X']", [2]),
        ("import os\nclass A:\n    x = os.getenv('X')", [3]),
        ("from os import environ\ndef f(x=environ.get('X')): ...", [2]),
        ("import os\ndef f():\n    return os.environ['X']", []),
        ("import os\nf = lambda: os.environ['X']", []),
    ],
)
def test_an_environment_read_at_import_is_found(source: str, lines: list[int]) -> None:
    assert reads_environment(source) == lines


def test_the_skins_import_only_operations() -> None:
    found = {
        str(path.relative_to(PACKAGE)): rooms
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] in SKINS and (rooms := known_beyond_operations(path))
    }
    assert found == {}
