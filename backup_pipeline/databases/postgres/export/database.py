"""What a database has besides its objects, and what the roles are that it speaks of. Never a password."""

from __future__ import annotations

from collections.abc import Iterable

from backup_pipeline.databases.postgres.export import connect
from backup_pipeline.model.schema import Database, Membership, Right, Role, Setting

_DATABASE = """
SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.shobj_description(d.oid, 'pg_database'), d.datconnlimit
  FROM pg_catalog.pg_database d WHERE d.datname = %s
"""
#: Of everybody but the owner. A database whose rights were never touched has those that a new one has.
_RIGHTS = """
SELECT x.privilege_type, CASE WHEN x.grantee = 0 THEN '' ELSE pg_catalog.pg_get_userbyid(x.grantee) END, x.is_grantable
  FROM pg_catalog.pg_database d,
       LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) x
 WHERE d.datname = %s AND x.grantee <> d.datdba ORDER BY 2, 1
"""
_SETTINGS = """
SELECT coalesce(r.rolname, ''), pg_catalog.unnest(s.setconfig)
  FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE d.datname = %s ORDER BY 1, 2
"""
#: Roles that own something in the database, have a right, stand in a policy: what would stop DROP ROLE.
_NAMED = """
SELECT DISTINCT r.rolname FROM pg_catalog.pg_roles r
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
 WHERE r.oid IN (SELECT s.refobjid FROM pg_catalog.pg_shdepend s
                  WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND (s.dbid = d.oid
                     OR (s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = d.oid)))
    OR r.oid IN (SELECT s.setrole FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid)
"""
#: The words of CREATE ROLE that are not its defaults.
_ROLES = """
WITH RECURSIVE named AS (
  SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = ANY (%s)
   UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN named ON m.member = named.oid)
SELECT r.rolname, pg_catalog.array_remove(ARRAY[
         CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN NOT r.rolinherit THEN 'NOINHERIT' END,
         CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
         CASE WHEN r.rolcanlogin THEN 'LOGIN' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
         CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
         CASE WHEN r.rolconnlimit <> -1 THEN 'CONNECTION LIMIT ' || r.rolconnlimit END,
         CASE WHEN r.rolvaliduntil IS NOT NULL THEN pg_catalog.format('VALID UNTIL %%L', r.rolvaliduntil) END], NULL),
       coalesce((SELECT s.setconfig FROM pg_catalog.pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '{{}}'),
       pg_catalog.shobj_description(r.oid, 'pg_authid'),
       ARRAY(SELECT ARRAY[p.rolname::text, m.admin_option::text, {inherit}::text, {settable}::text]
               FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles p ON p.oid = m.roleid
              WHERE m.member = r.oid ORDER BY 1)
  FROM pg_catalog.pg_roles r JOIN named ON named.oid = r.oid WHERE r.rolname !~ '^pg_' ORDER BY 1
"""


def read_database(connection: connect.Connection, name: str) -> Database:
    (owner, comment, limit) = connect.row(connection, _DATABASE, (name,))
    return Database(
        owner=owner,
        comment=comment,
        connection_limit=limit,
        rights=tuple(Right(*row) for row in connect.rows(connection, _RIGHTS, (name,))),
        settings=tuple(_setting(text, role) for role, text in connect.rows(connection, _SETTINGS, (name,))),
    )


def roles_named(connection: connect.Connection) -> set[str]:
    return {row[0] for row in connect.rows(connection, _NAMED)}


def read_roles(connection: connect.Connection, names: Iterable[str]) -> tuple[Role, ...]:
    """These, and the roles that they are members of. What every server has by itself (`pg_…`) is named and not made."""
    since_16 = connection.server_version >= 160000
    query = _ROLES.format(
        inherit="(m.inherit_option OR NOT r.rolinherit)" if since_16 else "true",
        settable="m.set_option" if since_16 else "true",
    )
    return tuple(
        Role(
            name=name,
            attributes=tuple(attributes),
            settings=tuple(_setting(text) for text in settings),
            comment=comment,
            # Granted by several, it is one membership.
            member_of=tuple({one[0]: _membership(*one) for one in parents}.values()),
        )
        for name, attributes, settings, comment, parents in connect.rows(connection, query, (list(names),))
    )


def _membership(role: str, admin: str, inherit: str, settable: str) -> Membership:
    return Membership(role, admin == "true", inherit == "true", settable == "true")


def _setting(text: str, role: str = "") -> Setting:
    name, _, value = text.partition("=")
    return Setting(name, value, role)
