"""python -m … URL ACT…: each act with Django's own means; at the end it prints the facts."""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

from backup_pipeline_tests.merging.applications.project import NoMigrations, django_database

APP = "backup_pipeline_tests.merging.applications.bookshop"
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    ROOT_URLCONF=f"{APP}.urls",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "mptt",
        "taggit",
        "treebeard",
        f"{APP}.apps.Bookshop",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    # A login must leave no trace: the same rows are compared before and after.
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={"default": django_database(sys.argv[1])},
    MIGRATION_MODULES=NoMigrations(),
)
django.setup()

from django.contrib.auth import user_logged_in  # noqa: E402
from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402
from django.test import Client  # noqa: E402

from backup_pipeline_tests.merging.applications.bookshop.models import (  # noqa: E402
    Author,
    Book,
    Category,
    Genre,
    Line,
    Order,
    Review,
)


def book(isbn: str, category: Category, authors: list[Author], tags: str, **more: Any) -> Book:
    made = Book.objects.create(isbn=isbn, title=f"Book {isbn}", category=category, **more)
    made.authors.set(authors)
    made.tags.add(*tags.split())
    Review.objects.create(about=made, text=f"about {isbn}")
    return made


def order(number: str, user: User, *books: Book) -> None:
    made = Order.objects.create(number=number, user=user)
    for place, one in enumerate(books):
        Line.objects.create(order=made, book=one, place=place, copies=place + 1)


def make() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)
    MigrationRecorder(connection).ensure_schema()
    editors = Group.objects.create(name="editors")
    editors.permissions.set(Permission.objects.filter(codename__endswith="_book"))
    ann = User.objects.create_superuser("ann", "ann@example.org", "old")
    bob = User.objects.create_user("bob", "bob@example.org", "bob")
    bob.groups.add(editors)
    bob.user_permissions.set(Permission.objects.filter(codename="add_author"))
    science, fiction, history = (Category.add_root(slug=slug) for slug in ("science", "fiction", "history"))
    crime, space = fiction.add_child(slug="crime"), fiction.add_child(slug="space")
    nordic = crime.add_child(slug="nordic")
    rome = history.add_child(slug="rome")
    adult = Genre.objects.create(name="adult")
    dark = Genre.objects.create(name="dark", parent=adult)
    noir = Genre.objects.create(name="noir", parent=dark)
    Genre.objects.create(name="light", parent=adult)
    ada, ben = Author.objects.create(name="Ada"), Author.objects.create(name="Ben")
    first = book("1", nordic, [ada], "cold slow")
    second = book("2", nordic, [ada, ben], "cold", sequel_of=first)
    third = book("3", space, [ben], "fast")
    fourth = book("4", science, [ada], "slow numbers")
    book("7", rome, [ben], "slow")
    first.genres.set([noir, dark])
    fourth.genres.set([adult])
    Review.objects.create(about=ada, text="about Ada")
    Review.objects.create(about=ben, text="about Ben")
    order("B-1", bob, first, fourth)
    order("A-1", ann, second, third)


def damage() -> None:
    Category.objects.get(slug="crime").delete()
    # The next root takes its path.
    Category.objects.get(slug="history").delete()
    Genre.objects.get(name="dark").delete()
    Genre.objects.rebuild()
    Author.objects.get(name="Ben").delete()
    User.objects.get(username="bob").delete()
    Line.objects.all().delete()


def live() -> None:
    """New rows take the keys of deleted ones."""
    keys = {"user": 2, "category": 3, "genre": 2, "author": 2, "book": 1}
    eve = User.objects.create_user("eve", "eve@example.org", "eve", id=keys["user"])
    ann = User.objects.get(username="ann")
    ann.set_password("new")
    ann.save()
    comics = Category.objects.get(slug="fiction").add_child(slug="comics", id=keys["category"])
    poems = Category.add_root(slug="poems")
    short = Genre.objects.create(name="short", parent=Genre.objects.get(name="adult"), id=keys["genre"])
    cleo = Author.objects.create(name="Cleo", id=keys["author"])
    fifth = book("5", comics, [cleo], "fast loud", id=keys["book"])
    fifth.genres.set([short])
    sixth = book("6", poems, [cleo, Author.objects.get(name="Ada")], "slow", sequel_of=fifth)
    Review.objects.create(about=cleo, text="about Cleo")
    order("E-1", eve, fifth, sixth, Book.objects.get(isbn="4"))


def empty() -> None:
    call_command("flush", interactive=False, verbosity=0)


def check() -> None:
    """Django's own checks, those of the trees, and the pages."""
    call_command("check")
    assert Category.find_problems() == ([], [], [], [], []), Category.find_problems()
    for one in Genre.objects.all():
        below = {child.pk for child in one.get_children()}
        assert below == set(Genre.objects.filter(parent=one).values_list("pk", flat=True)), one.name
        inside = Genre.objects.filter(tree_id=one.tree_id, lft__gt=one.lft, rght__lt=one.rght)
        assert one.get_descendant_count() == inside.count(), one.name
        assert one.level == (one.parent.level + 1 if one.parent else 0), one.name
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    client = Client()
    for isbn in Book.objects.values_list("isbn", flat=True):
        assert client.get(f"/books/{isbn}/").status_code == 200
    assert client.login(username="ann", password="new")
    for model in ("book", "author", "category", "genre", "review", "order"):
        assert client.get(f"/admin/bookshop/{model}/").status_code == 200, model
    # What the application does next.
    Category.objects.get(slug="nordic").add_child(slug="finnish").delete()
    Genre.objects.create(name="pale", parent=Genre.objects.get(name="noir")).delete()


def path(category: Category) -> str:
    return "/".join([*(one.slug for one in category.get_ancestors()), category.slug])


def line_of(genre: Genre) -> str:
    return "/".join(one.name for one in genre.get_ancestors(include_self=True))


def facts() -> dict[str, list[Any]]:
    return {
        "users": [
            [u.username, u.email, sorted(u.get_all_permissions()) if not u.is_superuser else "all"]
            for u in User.objects.all()
        ],
        "categories": [path(one) for one in Category.objects.all()],
        "genres": [line_of(one) for one in Genre.objects.all()],
        "books": [
            [
                b.isbn,
                b.title,
                path(b.category),
                b.sequel_of.isbn if b.sequel_of else None,
                sorted(a.name for a in b.authors.all()),
                sorted(b.tags.names()),
                sorted(line_of(g) for g in b.genres.all()),
                sorted(r.text for r in b.reviews.all()),
            ]
            for b in Book.objects.all()
        ],
        "authors": [[a.name, sorted(r.text for r in a.reviews.all())] for a in Author.objects.all()],
        "orders": [
            [
                o.number,
                o.user.username,
                [
                    [line.book.isbn if line.book else None, line.copies]
                    for line in o.line_set.order_by("place")
                ],
            ]
            for o in Order.objects.all()
        ],
        "reviews": [[r.text, str(r.about and type(r.about).__name__)] for r in Review.objects.all()],
    }


if __name__ == "__main__":
    for name in sys.argv[2:]:
        {"make": make, "damage": damage, "live": live, "empty": empty, "check": check}[name]()
    print(json.dumps(facts()))
