"""How to sign in to AWS, or to another server of S3: one value, its clients, and what their errors mean.

`AwsAccess` is frozen and can be pickled; a client never is: every process makes its own at the first request and
keeps it. Where a value is not given, boto3 looks for it as every AWS tool does: the environment, the profile, the
machine's own role.
"""

from __future__ import annotations

import hashlib
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from backup_pipeline.errors import ConfigError

#: Makes a client of a service ("s3", "secretsmanager"): for a caller that has one already, as a Dagster resource has.
Clients = Callable[[str], Any]

CONNECT_SECONDS = 10
READ_SECONDS = 60
#: R2 wants this one; to everybody else that is not AWS, any region will do.
_R2 = ".r2.cloudflarestorage.com"


@dataclass(frozen=True, slots=True)
class AwsAccess:
    #: https://… of a server that is not AWS: R2, Ceph, rclone.
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    #: Instead of all that; it has to be picklable where worker processes open the store again.
    clients: Clients | None = field(default=None, repr=False, compare=False)
    connect_seconds: int = CONNECT_SECONDS
    read_seconds: int = READ_SECONDS
    #: How often boto3 itself tries a request. A store's requests are tried again by us, around this: with both, a
    #: server that is down would be asked 36 times.
    attempts: int = 1


# A caller that gives clients may ask us for another one.
_lock = threading.RLock()
_made: dict[tuple[int, AwsAccess, int, str], tuple[Clients | None, Any]] = {}


def client(access: AwsAccess, service: str = "s3") -> Any:
    """The client of this process; clients may be used by many threads, making one may not."""
    given = access.clients
    key = (os.getpid(), access, id(given), service)
    with _lock:
        if key not in _made:
            # Who gave it is kept beside it, so that no other function can come to have its id.
            _made[key] = (given, _make(access, service) if given is None else given(service))
        return _made[key][1]


def is_aws(client: Any) -> bool:
    """Whether AWS itself answers: it alone keeps all that the S3 protocol promises."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _make(access: AwsAccess, service: str) -> Any:
    import boto3
    from botocore.exceptions import BotoCoreError

    if bool(access.access_key_id) != bool(access.secret_access_key):
        raise ConfigError(
            "access_key_id and secret_access_key belong together, and one of them is missing",
            remedy="give both, or neither: then the environment, the profile or the machine's role is asked",
        )
    try:
        session = boto3.session.Session(
            aws_access_key_id=access.access_key_id or None,
            aws_secret_access_key=access.secret_access_key or None,
            aws_session_token=access.session_token or None,
            region_name=access.region,
            profile_name=access.profile,
        )
        made = _client(session, access, service, strange=access.endpoint is not None)
        if access.endpoint is None and service == "s3" and not is_aws(made):
            made = _client(session, access, service, strange=True)  # AWS_ENDPOINT_URL names another server
        return made
    except (BotoCoreError, ValueError) as error:
        failure = classify(error)
        raise ConfigError(failure.message, remedy=failure.remedy) from error


def _client(session: Any, access: AwsAccess, service: str, *, strange: bool) -> Any:
    from botocore.config import Config

    region = session.region_name
    if region is None and service == "s3":
        region = "auto" if _R2 in (access.endpoint or "") else "us-east-1"
    more: dict[str, Any] = {}
    if strange:
        # Servers that are not AWS know no bucket.host names, and answer a range with the checksum of the whole.
        more = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    config = Config(
        connect_timeout=access.connect_seconds,
        read_timeout=access.read_seconds,
        retries={"total_max_attempts": access.attempts, "mode": "standard"},
        max_pool_connections=32,
        tcp_keepalive=True,
        **more,
    )
    made = session.client(service, region_name=region, endpoint_url=access.endpoint, config=config)
    if strange:
        made.meta.events.register("before-call.s3", _with_md5)
    return made


def _with_md5(params: dict[str, Any], **_: Any) -> None:
    """boto3 sends a CRC32 wherever a digest is required. Backblaze B2 refuses its header; older MinIO and ECS want the
    MD5 that it replaced."""
    checksum = params["context"].get("checksum", {})
    if checksum.pop("request_algorithm", None):
        checksum.pop("request_algorithm_header", None)
        digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
        params["headers"]["Content-MD5"] = b64encode(digest).decode()


# ── what went wrong

Kind = Literal[
    "missing", "exists", "changed", "beyond", "frozen", "busy", "denied", "unsupported", "permanent"
]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of boto3 in plain words. `busy` is worth another try, nothing else is."""

    kind: Kind
    message: str
    remedy: str = ""
    #: Seconds that the server asked us to wait.
    retry_after: float | None = None
    #: As the server named it; "" where no server answered.
    code: str = ""


_MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "404", "NotFound"}
_BUSY = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "ConditionalRequestConflict",
    "IncompleteBody",
    # What arrived was not what was sent: the wire, not the store.
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "InvalidPart",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}
_REMEDIES = {
    "AccessDenied": "give this key the right to do that (`backup-pipeline bucket setup … --dry-run` prints the "
    "policy); an explicit Deny, a bucket policy, an object lock or a public access block also says this",
    "NoSuchBucket": "make the bucket (`backup-pipeline bucket setup …`), or correct its name",
    "InvalidBucketName": "a bucket's name is s3://NAME/…: 3 to 63 lower-case letters, digits, dots and hyphens",
    "InvalidAccessKeyId": "check access_key_id: the server does not know this key",
    "SignatureDoesNotMatch": "check secret_access_key (a + or / lost while copying?), the region and the endpoint",
    "ExpiredToken": "sign in again: the temporary credentials have expired",
    "RequestTimeTooSkewed": "set this machine's clock right (chrony, systemd-timesyncd): requests are signed with "
    "the time",
    "AuthorizationHeaderMalformed": "set `region` to the bucket's own region",
    "QuotaExceeded": "make room, or raise the quota of the bucket",
    "NotImplemented": "this server does not offer that: leave the setting out, or use another server",
    "KMS": "check kms_key_id, that the key is enabled, and that this account may use it",
}
_SAME = {
    "AllAccessDisabled": "AccessDenied",
    "AccessDeniedException": "AccessDenied",
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "InvalidToken": "ExpiredToken",
    "ExpiredTokenException": "ExpiredToken",
    "TokenRefreshRequired": "ExpiredToken",
    "RequestExpired": "RequestTimeTooSkewed",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "PermanentRedirect": "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException": "AuthorizationHeaderMalformed",
    "301": "AuthorizationHeaderMalformed",
    "InsufficientCapacity": "QuotaExceeded",
    "EntityTooLarge": "QuotaExceeded",
    "501": "NotImplemented",
    "MethodNotAllowed": "NotImplemented",
    "405": "NotImplemented",
}


def classify(error: BaseException) -> Failure:
    """What an error of boto3, or of the network below it, means to us."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _answered(error.response)
    return _unanswered(error)


def _answered(response: dict[str, Any]) -> Failure:
    said = response.get("Error", {})
    code = str(said.get("Code", ""))
    metadata = response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    text = f"{code}: {said.get('Message') or 'no reason was given'}" if code else "no reason was given"
    if code == "NoSuchBucket":
        return Failure("permanent", text, _REMEDIES[code], code=code)
    if code in _MISSING:
        return Failure("missing", text, code=code)
    if code in ("PreconditionFailed", "412"):
        return Failure("exists", text, code=code)
    if code in ("InvalidRange", "416"):
        return Failure("beyond", text, code=code)
    if code == "InvalidObjectState":
        return Failure("frozen", text, code=code)
    if code in _BUSY or status == 429 or (status >= 500 and status not in (501, 507)):
        headers = metadata.get("HTTPHeaders", {})
        return Failure("busy", text, retry_after=_seconds(headers.get("retry-after")), code=code)
    named = "KMS" if code.startswith("KMS") else _SAME.get(code, code)
    if code in _DENIED:
        return Failure("denied", text, _REMEDIES["AccessDenied"], code=code)
    if named == "NotImplemented":
        return Failure("unsupported", text, _REMEDIES[named], code=code)
    return Failure("permanent", text, _REMEDIES.get(named, ""), code=code)


def _seconds(header: object) -> float | None:
    """Retry-After as a number of seconds; the form with a date is too rare to trust a clock for."""
    try:
        return max(0.0, float(str(header)))
    except ValueError:
        return None


def _unanswered(error: BaseException) -> Failure:
    from botocore import exceptions as boto

    if isinstance(
        error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError
    ):
        remedy = "give access_key_id and secret_access_key, a `profile`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Failure("permanent", f"there are no credentials: {error}", remedy)
    if isinstance(error, boto.ProfileNotFound):
        return Failure("permanent", str(error), "`aws configure --profile NAME` makes one; check AWS_PROFILE")
    if isinstance(error, boto.NoRegionError):
        return Failure("permanent", str(error), "set `region`, or AWS_DEFAULT_REGION")
    if isinstance(error, boto.TokenRetrievalError | boto.UnauthorizedSSOTokenError | boto.SSOTokenLoadError):
        return Failure("permanent", str(error), "sign in again: aws sso login")
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY" in str(error):
        remedy = "name the file with the server's authority in AWS_CA_BUNDLE"
        return Failure("permanent", f"the server's certificate is not trusted: {error}", remedy)
    if isinstance(error, boto.ParamValidationError | boto.InvalidEndpointDiscoveryConfigurationError):
        return Failure("permanent", str(error).replace("\n", " "))
    if isinstance(error, ValueError) and not isinstance(error, boto.BotoCoreError):
        return Failure("permanent", str(error), "the endpoint is written as https://host:port")
    # Everything else never reached the server, or the answer never reached us.
    return Failure("busy", str(error) or type(error).__name__)


class Failed(Exception):
    """For a caller that first judges the failure: `with failures(Failed)`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextmanager
def failures(raised: Callable[[Failure], Exception]) -> Iterator[None]:
    """An exception of boto3 inside, as the error that `raised` makes of it."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (BotoCoreError, ClientError, HTTPError, ConnectionError, TimeoutError) as error:
        raise raised(classify(error)) from error
