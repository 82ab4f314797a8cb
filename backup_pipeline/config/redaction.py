"""Keeping secrets out of what is shown. Standard library only: workers and sources use it too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

HIDDEN = "***"
#: Shorter ones would blot out half of every sentence; the patterns below still find them in URLs.
SHORTEST = 4

#: Up to the last "@": a password may hold one. But an address in the query (`?to=ops@example.com`) is none.
_IN_URL = re.compile(r"(\w[\w+.-]*://[^:/?#@\s]*):(?:(?!\?\w+=)\S)*@")
#: "…" is what a remedy writes for the reader to replace.
_ASSIGNED = re.compile(
    r"(?i)((?:password|passwd|sslpassword|secret|token|key)=)(?!…(?:\W|$))('[^']*'|[^&\s'\"]+)"
)
_QUERY_SECRETS = frozenset({"password", "passwd", "sslpassword", "secret", "token", "key"})


#: Secrets that became known after the configuration was read. For the whole process: the modules that show something
#: got their list of secrets earlier.
_learnt: set[str] = set()


def learn(secrets: Iterable[str]) -> None:
    """From now on `redact` hides these as well, in every spelling that a URL has for them."""
    for secret in secrets:
        _learnt.update((secret, quote(secret, safe="")))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Text without the passwords of URLs in it, and without the given secrets."""
    # Longest first: a secret that begins with another one must not leave its end behind.
    for secret in sorted({*secrets, *_learnt}, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text)


def safe_url(url: str) -> str:
    """A URL as it may be shown."""
    try:
        parts = urlsplit(url)
        if parts.password is None and not _query_secrets(parts.query):
            return url
        host = parts.netloc.rpartition("@")[2]
        user = parts.username or ""
        netloc = f"{user}:{HIDDEN}@{host}" if parts.password is not None else parts.netloc
        return redact(urlunsplit(parts._replace(netloc=netloc)), _query_secrets(parts.query))
    except ValueError:
        return redact(url)


def passwords_in(url: str) -> tuple[str, ...]:
    """Every spelling of the passwords that a URL holds; a text that is no URL is one as a whole."""
    if "://" not in url:
        return (url,) if url else ()
    try:
        parts = urlsplit(url)
        found = [parts.password or "", *_query_secrets(parts.query)]
    except ValueError:
        return (url,)
    return tuple(dict.fromkeys(spelling for one in found if one for spelling in (one, unquote(one))))


def _query_secrets(query: str) -> list[str]:
    return [value for key, value in parse_qsl(query) if key.lower() in _QUERY_SECRETS]
