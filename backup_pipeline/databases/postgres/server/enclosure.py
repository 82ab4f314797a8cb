"""A program without network, and with no files but those that are named: Linux namespaces, without any tool.

This file is also the launcher: `python -I -S enclosure.py ORDER` makes the enclosure in a process of its own and becomes
the program (the process id stays). It imports nothing of the package. Root gives the program another account on the
way; an ordinary account needs a kernel that lets it make user namespaces.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What a server reads besides its own installation: libraries, locales, time zones, dictionaries. No /bin: without a
#: shell there are no programs either. No /proc, /home, /root, /run, /var/lib.
READABLE = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/share", "/usr/local/lib", "/usr/local/share",
    "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/var/cache/postgresql",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

_NEWNS, _NEWIPC, _NEWUSER, _NEWNET = 0x20000, 0x08000000, 0x10000000, 0x40000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE, _RELATIME = 1, 32, 4096, 16384, 1 << 18, 1 << 21
_NOSUID, _NODEV, _DETACH, _NO_NEW_PRIVILEGES = 2, 4, 2, 38


def command(
    argv: Sequence[str], *, root: Path, readable: Sequence[Path], writable: Sequence[Path], uid: int, gid: int
) -> list[str]:
    """What to start instead of `argv`. `root`: an empty folder, which becomes the root of what the program sees."""
    order = {
        "argv": list(argv),
        "root": str(root),
        "readable": [*READABLE, *map(str, readable)],
        "writable": list(map(str, writable)),
        "uid": uid,
        "gid": gid,
    }
    return [sys.executable, "-I", "-S", __file__, json.dumps(order)]


def why_not(root: Path, env: Mapping[str, str]) -> str:
    """Why this machine does not make an enclosure, in the kernel's words; "" where it does."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    trial = command((), root=root, readable=(), writable=(), uid=os.geteuid(), gid=os.getegid())
    done = subprocess.run(trial, capture_output=True, text=True, env=dict(env), cwd="/")
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


# ── in the launcher


def _enter(order: Mapping[str, object]) -> None:
    uid, gid, root = int(str(order["uid"])), int(str(order["gid"])), str(order["root"])
    kernel = _Kernel()
    ordinary = os.geteuid() != 0
    kernel.call("unshare", _NEWNS | _NEWNET | _NEWIPC | (_NEWUSER if ordinary else 0))
    if ordinary:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    kernel.mount("none", "/", None, _REC | _PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=755")
    for path in (*_strings(order["readable"]), *DEVICES):
        _show(kernel, root, path, read_only=path not in DEVICES)
    for path in _strings(order["writable"]):
        _show(kernel, root, path, read_only=False)
    for folder in ("tmp", "dev/shm"):
        Path(root, folder).mkdir(parents=True, exist_ok=True)
        Path(root, folder).chmod(0o1777)
    argv = _strings(order["argv"])
    if argv:
        # The loader finds the libraries beside a program by this link; there is no other /proc.
        link = Path(root, "proc/self/exe")
        link.parent.mkdir(parents=True)
        link.symlink_to(argv[0])
    os.chdir(root)
    kernel.call("pivot_root", b".", b".")
    kernel.call("umount2", b".", _DETACH)
    os.chdir("/")
    if not ordinary:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    kernel.call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(one) for one in value]


def _show(kernel: _Kernel, root: str, path: str, *, read_only: bool) -> None:
    """The same path, seen from within. /lib is a link to usr/lib on most systems, and stays one."""
    there, inside = Path(path), Path(root + path)
    if inside.is_symlink() or inside.exists() or not there.exists():
        return
    inside.parent.mkdir(parents=True, exist_ok=True)
    if there.is_symlink():
        inside.symlink_to(there.readlink())
        return
    if there.is_dir():
        inside.mkdir()
    else:
        inside.touch()
    kernel.mount(path, str(inside), None, _BIND | _REC)
    if read_only:
        # In a user namespace the flags that the mount has must be said again.
        had = os.statvfs(inside).f_flag
        kept = had & 0b1110 | had & 0xC00 | (_RELATIME if had & 4096 else 0)
        kernel.mount("none", str(inside), None, _REMOUNT | _BIND | _RDONLY | kept)


class _Kernel:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: object) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")

    def mount(self, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
        self.call(
            "mount",
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        )


def main() -> None:
    order = json.loads(sys.argv[1])
    try:
        _enter(order)
    except (OSError, AttributeError) as error:
        sys.exit(str(error.strerror if isinstance(error, OSError) and error.strerror else error))
    if order["argv"]:
        os.execv(order["argv"][0], order["argv"])


if __name__ == "__main__":
    main()
