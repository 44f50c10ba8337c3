"""A system user for the embedded server when Don runs as root, which PostgreSQL refuses. Does I/O.

The user needs to search (not list) the folders above its data and the server's programs. Where a
folder denies that, an access control entry grants search to this one user; only where the file
system has no such entries is search opened to all, which reveals no names of files.
"""

import os
import pwd
import shutil
import stat
import struct
import subprocess
from functools import reduce
from operator import or_
from pathlib import Path

from don.errors import ConfigError

NAME = "don_postgres"

_ACL = "system.posix_acl_access"
_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_SEARCH = 1


def needed() -> bool:
    """True if this process is root, so that the server must run as somebody else."""
    return os.geteuid() == 0


def ensure_user() -> pwd.struct_passwd:
    """The system user, made if it does not exist.

    Raises:
        ConfigError: if it cannot be made.
    """
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        pass
    program = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    hint = "run Don as a normal user, or set DON_DATABASE_URL to a server of your own"
    if program is None:
        raise ConfigError(f"PostgreSQL does not run as root and there is no useradd here: {hint}")
    made = subprocess.run(
        [program, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME],
        capture_output=True,
        text=True,
    )
    try:
        return pwd.getpwnam(NAME)  # also when another process made it in the meantime
    except KeyError:
        raise ConfigError(
            f"cannot make the system user {NAME} ({made.stderr.strip()}): {hint}"
        ) from None


def own(path: Path, user: pwd.struct_passwd) -> None:
    """Give a folder and all in it to the user, if it is not theirs yet."""
    status = path.stat()
    if (status.st_uid, status.st_gid) == (user.pw_uid, user.pw_gid):
        return
    for folder, _, files in os.walk(path):
        for name in files:
            os.chown(Path(folder) / name, user.pw_uid, user.pw_gid, follow_symlinks=False)
    for folder, _, _ in os.walk(path):
        if Path(folder) != path:
            os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
    os.chown(path, user.pw_uid, user.pw_gid)  # last: the mark that all of it is done


def grant_search(path: Path, user: pwd.struct_passwd) -> None:
    """Let the user pass through every folder above `path`."""
    for folder in path.resolve().parents:
        if not _can_search(folder, user):
            _grant(folder, user.pw_uid)


def grant_programs(folder: Path) -> None:
    """Let everybody read the server's programs and libraries, which are public software.

    An installation under a strict umask leaves them to their owner alone.
    """
    for base, _, files in os.walk(folder):
        for path in (Path(base), *(Path(base) / name for name in files)):
            if path.is_symlink():
                continue
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = mode | 0o044 | (0o011 if mode & 0o100 else 0)
            if wanted != mode:
                path.chmod(wanted)


def _can_search(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    entries = _read_acl(folder)
    for tag, permission, who in entries:
        if tag == _USER and who == user.pw_uid:
            mask = next((p for t, p, _ in entries if t == _MASK), 7)
            return bool(permission & mask & _SEARCH)
    if status.st_gid == user.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _read_acl(folder: Path) -> list[tuple[int, int, int]]:
    try:
        data = os.getxattr(folder, _ACL)
    except OSError:  # none set, or a file system without them: the mode says it all
        return []
    return [struct.unpack_from("<HHI", data, at) for at in range(4, len(data), 8)]


def _grant(folder: Path, uid: int) -> None:
    mode = folder.stat().st_mode
    entries = _read_acl(folder) or [
        (_USER_OBJ, (mode >> 6) & 7, _NO_ID),
        (_GROUP_OBJ, (mode >> 3) & 7, _NO_ID),
        (_OTHER, mode & 7, _NO_ID),
    ]
    kept = [e for e in entries if e[0] != _MASK and not (e[0] == _USER and e[2] == uid)]
    kept.append((_USER, _SEARCH, uid))
    old = [permission for tag, permission, _ in entries if tag == _MASK]
    given = [permission for tag, permission, _ in entries if tag in (_USER, _GROUP_OBJ, _GROUP)]
    mask = reduce(or_, old or given, _SEARCH)  # an old mask may hold others back: keep it
    kept.append((_MASK, mask, _NO_ID))
    kept.sort(key=lambda e: (e[0], e[2]))  # the kernel insists on this order
    data = struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *e) for e in kept)
    try:
        os.setxattr(folder, _ACL, data)
    except OSError:  # no access control entries here
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
