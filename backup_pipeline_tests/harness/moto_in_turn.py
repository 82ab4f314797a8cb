"""moto with one write at a time. S3 looks and writes in one step where a key is created conditionally; moto takes two."""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

_TURN = threading.Lock()
_put = S3Response.put_object


def put_object(response: S3Response) -> Any:
    with _TURN:
        return _put(response)


if __name__ == "__main__":
    S3Response.put_object = put_object
    main()
