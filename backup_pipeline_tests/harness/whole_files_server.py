"""An SFTP server in front of an object store, as AWS Transfer is: a file is written once, from its beginning, in order.

Without links, fsync, statvfs, setstat and a rename that replaces. `python -m … PORT HOST_KEY ADMITTED` serves the file system.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, BinaryIO, cast

import asyncssh


class WholeFiles(asyncssh.SFTPServer):
    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if pflags & asyncssh.FXF_WRITE and not pflags & asyncssh.FXF_TRUNC:
            raise asyncssh.SFTPPermissionDenied("only whole files are written")
        file = super().open(
            path, pflags & ~asyncssh.FXF_READ if pflags & asyncssh.FXF_WRITE else pflags, attrs
        )
        return file

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if cast(BinaryIO, file_obj).tell() != offset:
            raise asyncssh.SFTPFailure("bytes are written in order")
        return cast(int, super().write(file_obj, offset, data))

    def _not_offered(self, *_: Any) -> Any:
        raise asyncssh.SFTPOpUnsupported("not offered")

    link = posix_rename = fsync = statvfs = fstatvfs = setstat = fsetstat = symlink = _not_offered  # type: ignore[assignment]


async def serve(port: int, host_key: str, admitted: str) -> None:
    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[host_key],
        authorized_client_keys=f"{admitted}/authorized_keys",
        sftp_factory=WholeFiles,
        allow_scp=False,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
