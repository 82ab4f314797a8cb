"""The addresses of `alerts:`, and what keeps a message from reaching a person: there is none, one is misspelt, or its
server does not answer. A service is told by Apprise; a server is only connected to, and gets no message.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from backup_pipeline.config import Settings
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.findings import Finding, Report

if TYPE_CHECKING:
    from apprise import NotifyBase

#: Seconds to wait for a server.
PATIENCE = 10.0
REMEDY = "write it as in mailto://user:password@server?to=ops@example.com or json://host/path"


@dataclass(frozen=True, slots=True)
class Route:
    #: As messages call it: "alerts[0] (slack)". The address itself may be a secret as a whole.
    name: str
    #: None: it is not known here, or no service of Apprise.
    address: str | None = field(repr=False)
    problem: str = ""
    remedy: str = ""

    @property
    def id(self) -> str:
        """How an address is remembered where anyone may look: in a cursor, in the state folder."""
        return hashlib.sha256((self.address or self.name).encode()).hexdigest()[:12]


def routes_of(settings: Settings) -> tuple[Route, ...]:
    return tuple(_route(f"alerts[{number}]", secret) for number, secret in enumerate(settings.alerts))


def _route(name: str, secret: Any) -> Route:
    try:
        address: str = secret.get_secret_value()
    except ConfigError as error:
        return Route(name, None, error.message, error.remedy)
    name = f"{name} ({address.partition('://')[0]})" if "://" in address else name
    if plugin_of(address) is None:
        return Route(name, None, f"{name} is no address that Apprise knows", REMEDY)
    return Route(name, address)


def plugin_of(address: str) -> NotifyBase | None:
    """The service of an address; None where there is none, or where a part of the address is missing."""
    import apprise

    with apprise.LogCapture(level=apprise.logging.CRITICAL):  # type: ignore[no-untyped-call]
        return apprise.Apprise.instantiate(address, suppress_exceptions=True)


def findings(settings: Settings, *, connect: bool = False) -> tuple[Finding, ...]:
    """What is wrong with the routes by which failures are told; with `connect`, whether the servers answer."""
    if not settings.alerts:
        return (Finding.of("no-alert-route", systems=_all(settings)),)
    found: list[Finding] = []
    deaf = 0
    for route in routes_of(settings):
        about = tuple(_looked_at(route, connect=connect))
        deaf += any(one.severity == "error" for one in about)
        found += about
    if deaf == len(settings.alerts):
        found.append(Finding.of("no-alert-arrives", systems=_all(settings)))
    return tuple(found)


def report(settings: Settings) -> Report:
    """For `doctor`."""
    return Report("alerts", findings(settings, connect=True), {"routes": len(settings.alerts)})


def _all(settings: Settings) -> str:
    return ", ".join([*settings.systems, "vault"])


def _looked_at(route: Route, *, connect: bool) -> Iterator[Finding]:
    if route.address is None:
        yield Finding.of("alert-address-wrong", why=route.problem, remedy=route.remedy)
        return
    if not connect:
        return
    plugin = plugin_of(route.address)
    server = server_of(plugin) if plugin is not None else None
    if server is None:
        yield Finding.of("alert-not-tried", route=route.name)
        return
    try:
        socket.create_connection(server, PATIENCE).close()
    except OSError as error:
        host, port = server
        yield Finding.of(
            "alert-unreachable", route=route.name, host=host, port=port, why=error.strerror or error
        )


def server_of(plugin: NotifyBase) -> tuple[str, int] | None:
    """Host and port of the server that takes the messages; None where Apprise does not say, or a proxy stands before it."""
    host, secure = str(getattr(plugin, "smtp_host", "") or ""), bool(plugin.secure)
    if host:
        return host, plugin.port or (587 if secure else 25)
    templates: tuple[str, ...] = plugin.templates
    url = urlsplit(str(getattr(plugin, "notify_url", "") or ""))
    scheme, port = url.scheme or ("https" if secure else "http"), url.port
    if url.hostname:
        host = url.hostname
    elif all("{host}" in template for template in templates):
        host, port = str(plugin.host or ""), plugin.port
    if not host or _by_proxy(scheme, host):
        return None
    return host, port or (443 if scheme == "https" else 80)


def _by_proxy(scheme: str, host: str) -> bool:
    with suppress(OSError):
        return scheme in getproxies() and not proxy_bypass(host)
    return False
