"""A real Django site whose sessions are not backed up: what comes back is a site that one can log in to."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.sqlite_rows import connect

SITE = """
import sys
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], USE_TZ=True, ROOT_URLCONF=__name__, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[2]}},
)
import django
django.setup()
from django.contrib.auth.models import Group, User
from django.contrib.auth.views import LoginView
from django.core.management import call_command
from django.test import Client
from django.urls import path
urlpatterns = [path("login/", LoginView.as_view())]

if sys.argv[1] == "make":
    call_command("migrate", verbosity=0)
    ann = User.objects.create_user("ann", password="pw")
    for name in ("editors", "writers"):
        ann.groups.add(Group.objects.create(name=name))
answer = Client().post("/login/", {"username": "ann", "password": "pw"})
print(answer.status_code, Group.objects.create(name=sys.argv[1]).id)
"""


def site(tmp_path: Path, verb: str, database: Path) -> str:
    script = tmp_path / "site.py"
    script.write_text(SITE)
    done = subprocess.run(
        [sys.executable, str(script), verb, str(database)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_site_without_its_sessions_is_restored_and_logs_in(tmp_path: Path) -> None:
    def run(*arguments: str) -> commands.Ended:
        return commands.invoke(*arguments, "--no-record", cwd=tmp_path)

    live, restored = tmp_path / "site.sqlite3", tmp_path / "restored.sqlite3"
    assert site(tmp_path, "make", live) == "302 3"
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  site:\n    database: sqlite:///site.sqlite3\n    exclude: [django_session, auth_group]\n"
    )
    doctor = commands.invoke("doctor", "site", "--json", cwd=tmp_path).data["systems"]["site"]
    (named,) = [one for one in doctor["findings"] if one["code"] == "reference-left-out"]
    assert "2 foreign keys refer to main.auth_group" in named["message"]
    assert set(named["examples"]) == {
        "main.auth_user_groups (group_id)",
        "main.auth_group_permissions (group_id)",
    }
    assert run("backup", "site").code == 0
    drilled = run("drill", "site", "--json")
    assert drilled.code == 0, str(drilled)
    dangling = [one for one in drilled.data["report"]["findings"] if one["table"] == "main.auth_user_groups"]
    assert [one["code"] for one in dangling] == ["reference-left-out"]
    assert "exclude: auth_group" in dangling[0]["message"]
    assert "source" not in json.dumps(drilled.data)
    done = commands.invoke("restore", "site", "latest", "--to", f"sqlite:///{restored}", cwd=tmp_path)
    assert done.code == 0, str(done)
    with closing(connect(restored)) as connection:
        assert connection.execute("SELECT count(*) FROM django_session").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM auth_user_groups").fetchone() == (2,)
    # It logs in (a row in django_session), and no new group gets a number that rows of the old ones point to.
    assert site(tmp_path, "restored", restored) == "302 4"
