"""Django: migrations of many apps that depend on each other; the table django_migrations holds each applied one.

`path` is the project, an app, or one folder of migrations. Only what lies below it is looked at: the migrations of
installed packages (auth, sessions …) come with their packages, and are not the project's to forget.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backup_pipeline.errors import ConfigError
from backup_pipeline.migrations import literals
from backup_pipeline.migrations.order import ahead, in_order
from backup_pipeline.model.manifest import Migrations, saying

#: Folders that hold other people's code.
_FOREIGN = frozenset(
    {"node_modules", "site-packages", "dist-packages", "__pycache__", "venv", "env", "build", "dist"}
)
_FOLDER = "migrations"
_DJANGOS_OWN = frozenset({"admin", "auth", "contenttypes", "flatpages", "redirects", "sessions", "sites"})


@dataclass(frozen=True, slots=True)
class Migration:
    """`shop.0002_orders`; everything in it names others in the same way."""

    id: str
    app: str
    dependencies: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    run_before: tuple[str, ...] = ()


def read(path: Path, applied: tuple[str, ...] | None) -> Migrations:
    found = {migration.id: migration for migration in _migrations(path)}
    if not found:
        raise ConfigError(
            f"there is no Django migration below {path}",
            remedy="`migrations: path:` is the folder of manage.py, or of an app, or one named migrations",
        )
    known = applied or ()
    graph, done = _without_what_was_replaced(found, set(known))
    parents = _parents(graph)
    heads, strange = _heads(graph, parents), _strange(found, known)
    if strange:
        return Migrations("django", known, heads, unknown=saying(strange))
    pending = tuple(name for name in in_order(parents) if name not in done)
    return Migrations("django", known, heads, pending)


def _strange(found: Mapping[str, Migration], applied: tuple[str, ...]) -> tuple[str, ...]:
    """What the database says of the apps of the folder, and the folder does not know. Where the folder knows none of its
    apps, it is the folder of another project; Django's own apps may be there before the project's."""
    known = {name for one in found.values() for name in (one.id, *one.replaces)}
    apps = {one.app for one in found.values()}
    by_app: dict[str, list[str]] = {}
    for name in applied:
        by_app.setdefault(name.partition(".")[0], []).append(name)
    if not apps & by_app.keys():
        return tuple(name for app, names in by_app.items() if app not in _DJANGOS_OWN for name in names)
    return tuple(name for app in sorted(apps & by_app.keys()) for name in ahead(by_app[app], known))


def _without_what_was_replaced(
    found: Mapping[str, Migration], applied: set[str]
) -> tuple[dict[str, Migration], set[str]]:
    """As Django does: a squashed migration stands for what it replaces when all or none of that was applied; in between,
    what it replaces is finished first, and the squashed one is not there yet."""
    graph = dict(found)
    done = set(applied)
    for squash in sorted((one for one in found.values() if one.replaces), key=lambda one: _depth(one, found)):
        states = [name in done for name in squash.replaces]
        if all(states):
            done.add(squash.id)
        else:
            done.discard(squash.id)
        if all(states) or not any(states):
            gone = [graph.pop(name) for name in squash.replaces if name in graph]
            outside = (d for one in gone for d in one.dependencies if d not in squash.replaces)
            graph[squash.id] = replace(
                squash, dependencies=tuple(dict.fromkeys((*squash.dependencies, *outside)))
            )
            graph = {key: _redirected(one, set(squash.replaces), squash.id) for key, one in graph.items()}
        else:
            graph.pop(squash.id, None)
            inner = {d for name in squash.replaces if name in graph for d in graph[name].dependencies}
            last = tuple(name for name in squash.replaces if name in graph and name not in inner)
            graph = {key: _redirected(one, {squash.id}, *last) for key, one in graph.items()}
    return graph, done


def _depth(migration: Migration, found: Mapping[str, Migration]) -> int:
    """A squash of squashes comes after those."""
    inner = [found[name] for name in migration.replaces if name in found and found[name].replaces]
    return 1 + max((_depth(one, found) for one in inner), default=0)


def _redirected(migration: Migration, old: set[str], *new: str) -> Migration:
    def moved(names: tuple[str, ...]) -> tuple[str, ...]:
        kept = [other for name in names for other in (new if name in old else (name,))]
        return tuple(name for name in dict.fromkeys(kept) if name != migration.id)

    return replace(
        migration, dependencies=moved(migration.dependencies), run_before=moved(migration.run_before)
    )


def _parents(graph: Mapping[str, Migration]) -> dict[str, set[str]]:
    by_app: dict[str, list[Migration]] = {}
    for migration in graph.values():
        by_app.setdefault(migration.app, []).append(migration)
    parents: dict[str, set[str]] = {}
    for migration in graph.values():
        parents[migration.id] = {
            name for one in migration.dependencies for name in _meant(one, by_app, migration.app)
        }
    for migration in graph.values():
        for name in migration.run_before:
            if name in parents:
                parents[name].add(migration.id)
    return parents


def _meant(name: str, by_app: Mapping[str, list[Migration]], own: str) -> Iterable[str]:
    """`shop.__first__` and `shop.__latest__` are the roots and the leaves of an app."""
    app, _, last = name.rpartition(".")
    if last not in ("__first__", "__latest__"):
        return (name,)
    if app == own:
        return ()
    members = by_app.get(app, [])
    if last == "__first__":
        return [m.id for m in members if not any(d.startswith(f"{app}.") for d in m.dependencies)]
    depended = {d for m in members for d in m.dependencies}
    return [m.id for m in members if m.id not in depended]


def _heads(graph: Mapping[str, Migration], parents: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The leaves of each app: nothing of the same app comes after them."""
    followed = {
        parent
        for name, above in parents.items()
        for parent in above
        if parent in graph and graph[parent].app == graph[name].app
    }
    return tuple(sorted(graph.keys() - followed))


def _migrations(path: Path) -> Iterator[Migration]:
    labels: dict[str, Path] = {}
    for folder in _folders(path):
        label = _label(folder)
        if label in labels:
            raise ConfigError(
                f"two apps are called {label!r}: {labels[label]} and {folder}",
                remedy="set `migrations: path:` to the folder of the one project that this database belongs to",
            )
        labels[label] = folder
        for file in sorted(folder.glob("*.py")):
            if file.name[0] in "_~.":
                continue
            migration = _migration(file, label)
            if migration is not None:
                yield migration


def _folders(path: Path) -> Iterator[Path]:
    if path.name == _FOLDER and (path / "__init__.py").is_file():
        yield path
        return
    for root, folders, files in os.walk(path):
        here = Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _FOREIGN and not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()
        )
        # Without __init__.py, Django takes the folder for something else.
        if here.name == _FOLDER and "__init__.py" in files:
            yield here
            folders.clear()


def _label(folder: Path) -> str:
    """The app's label: what apps.py says, else the name of the app's folder."""
    app = folder.parent
    config = app / "apps.py"
    if config.is_file():
        classes = [node for node in literals.parse(config).body if isinstance(node, ast.ClassDef)]
        for node in classes:
            found = literals.assigned(node.body)
            label, name = literals.text(found.get("label")), literals.text(found.get("name"))
            if label or name:
                return label or (name or "").rpartition(".")[2]
    return app.name


def _migration(file: Path, app: str) -> Migration | None:
    classes = [node for node in literals.parse(file).body if isinstance(node, ast.ClassDef)]
    body = next((node.body for node in classes if node.name == "Migration"), None)
    if body is None:
        return None
    found = literals.assigned(body)
    return Migration(
        f"{app}.{file.stem}",
        app,
        _pairs(found.get("dependencies")),
        _pairs(found.get("replaces")),
        _pairs(found.get("run_before")),
    )


def _pairs(node: ast.expr | None) -> tuple[str, ...]:
    """[("shop", "0001_initial"), …]; a swappable dependency is settled by the settings, which are not read."""
    if not isinstance(node, ast.List | ast.Tuple):
        return ()
    pairs = [literals.texts(item) for item in node.elts if isinstance(item, ast.Tuple | ast.List)]
    return tuple(f"{pair[0]}.{pair[1]}" for pair in pairs if len(pair) == 2)
