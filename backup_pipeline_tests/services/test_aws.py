"""What the errors of S3, and of the network below it, mean to us; and who signs in."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from botocore import exceptions as boto

from backup_pipeline.errors import ConfigError
from backup_pipeline.services.aws import AwsAccess, classify, client, is_aws


def refusal(code: str, status: int, headers: dict[str, str] | None = None) -> boto.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "as the server says it"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return boto.ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, "missing"),
        ("404", 404, "missing"),
        ("NoSuchBucket", 404, "permanent"),
        ("PreconditionFailed", 412, "exists"),
        ("ConditionalRequestConflict", 409, "busy"),
        ("InvalidRange", 416, "beyond"),
        ("InvalidObjectState", 403, "frozen"),
        ("SlowDown", 503, "busy"),
        ("TooManyRequests", 429, "busy"),
        ("RequestTimeout", 400, "busy"),
        ("InternalError", 500, "busy"),
        ("502", 502, "busy"),
        ("BadDigest", 400, "busy"),
        ("XAmzContentSHA256Mismatch", 400, "busy"),
        ("AccessDenied", 403, "denied"),
        ("403", 403, "denied"),
        ("InvalidAccessKeyId", 403, "permanent"),
        ("SignatureDoesNotMatch", 403, "permanent"),
        ("ExpiredToken", 400, "permanent"),
        ("RequestTimeTooSkewed", 403, "permanent"),
        ("PermanentRedirect", 301, "permanent"),
        ("QuotaExceeded", 507, "permanent"),
        ("KMS.DisabledException", 400, "permanent"),
        ("NotImplemented", 501, "unsupported"),
        ("MethodNotAllowed", 405, "unsupported"),
    ],
)
def test_an_answer_is_known_for_what_it_is(code: str, status: int, kind: str) -> None:
    failure = classify(refusal(code, status))
    assert failure.kind == kind
    assert code in failure.message
    # What a person has to do something about says what.
    assert bool(failure.remedy) is (kind in ("permanent", "denied", "unsupported"))


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("Sat, 21 Nov 2026 12:00:00 GMT", None)]
)
def test_a_server_that_says_how_long_to_wait_is_understood(header: str, seconds: float | None) -> None:
    assert classify(refusal("SlowDown", 503, {"retry-after": header})).retry_after == seconds


@pytest.mark.parametrize(
    "error",
    [
        boto.EndpointConnectionError(endpoint_url="https://x"),
        boto.ReadTimeoutError(endpoint_url="https://x"),
        boto.ConnectTimeoutError(endpoint_url="https://x"),
        boto.ConnectionClosedError(endpoint_url="https://x"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        boto.ResponseStreamingError(error="reset"),
        ConnectionResetError("reset by peer"),
    ],
)
def test_what_never_arrived_is_worth_another_try(error: Exception) -> None:
    assert classify(error).kind == "busy"


@pytest.mark.parametrize(
    "error",
    [
        boto.NoCredentialsError(),
        boto.ProfileNotFound(profile="x"),
        boto.NoRegionError(),
        boto.UnauthorizedSSOTokenError(),
        boto.SSLError(endpoint_url="https://x", error="CERTIFICATE_VERIFY_FAILED"),
        ValueError("Invalid endpoint: nonsense"),
    ],
)
def test_what_a_person_has_to_put_right_is_said_with_what_to_do(error: Exception) -> None:
    failure = classify(error)
    assert failure.kind == "permanent"
    assert failure.remedy


def test_half_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="belong together") as caught:
        client(AwsAccess(access_key_id="AKIA"))
    assert caught.value.remedy


def test_a_region_is_chosen_where_a_server_does_not_care(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    keys = {"access_key_id": "a", "secret_access_key": "b"}
    assert client(AwsAccess(endpoint="http://127.0.0.1:1", **keys)).meta.region_name == "us-east-1"
    r2 = client(AwsAccess(endpoint="https://x.r2.cloudflarestorage.com", **keys))
    assert r2.meta.region_name == "auto"
    assert not is_aws(r2)
    assert is_aws(client(AwsAccess(region="eu-central-1", **keys)))


def test_a_server_that_only_the_environment_names_is_not_taken_for_aws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    made = client(AwsAccess(region="eu-west-2", access_key_id="from-env", secret_access_key="b"))
    assert not is_aws(made)
    assert made.meta.config.s3 == {"addressing_style": "path"}


def test_who_signs_in_can_be_sent_to_another_process_and_shows_no_secret() -> None:
    access = AwsAccess(access_key_id="AKIA", secret_access_key="very-secret", session_token="token-secret")
    assert pickle.loads(pickle.dumps(access)) == access
    assert "secret" not in repr(access).replace("secret_access_key", "")
