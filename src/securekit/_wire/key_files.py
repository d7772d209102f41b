# SPDX-License-Identifier: Apache-2.0
"""The one reader of private keys and KEKs: it refuses what others could have read or replaced.

RULE of this file: what is judged is the opened descriptor, never a name that may mean another file a moment later.
"""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

from securekit.exceptions import KeyFileError, SecurityWarning

__all__ = ["read_key_file"]

MAX_SIZE = 64 * 1024  # bytes; a PKCS#12 file with its chain has a few thousand
_SECRETS = Path("/run/secrets")  # where Docker mounts secrets, read-only and world-readable
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def read_key_file(path: str | os.PathLike[str], *, max_size: int = MAX_SIZE) -> bytes:
    """Return the bytes of a key file.

    It must be a regular file with one hard link, owned by root or the caller, and closed to group and others. A symbolic
    link is followed only if every directory and link on the way is owned by root or the caller, and is writable by nobody
    else or sticky, as the mount point of a Kubernetes secret is: there, others cannot replace what is not theirs.
    Accepted as they are: files in ``$CREDENTIALS_DIRECTORY`` (systemd), root's files that our group may read (Kubernetes'
    fsGroup), and, with a warning, files below ``/run/secrets`` on a read-only mount (Docker).

    Raises:
        securekit.exceptions.KeyFileError: The file is missing, empty, too large, or not guarded; with the repair.
    """
    name = Path(path)
    real = _resolve(name)
    try:
        # O_NONBLOCK: a FIFO in place of the file must not block us.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        message = f"cannot read the key file {name}: {error.strerror}"
        raise KeyFileError(message) from None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        _judge(name, real, facts, read_only=bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY))
        data = file.read(max_size + 1)
    if not 0 < len(data) <= max_size:
        message = f"the key file {name} is empty" if not data else f"the key file {name} has more than {max_size} bytes"
        raise KeyFileError(message)
    return data


def _resolve(name: Path) -> Path:
    """Return the file behind ``name``, having checked every step if there is a link on the way."""
    steps: list[Path] = []
    current = Path(os.path.abspath(name))  # noqa: PTH100 - resolve() would follow the links unseen
    linked = False
    for _ in range(40):
        found = next((part for part in reversed([current, *current.parents]) if part.is_symlink()), None)
        if found is None:
            break
        linked = True
        steps += [found, *found.parents]
        current = Path(os.path.abspath(found.parent / found.readlink() / current.relative_to(found)))  # noqa: PTH100
    else:
        message = f"the key file {name} is behind a circle of symbolic links"
        raise KeyFileError(message)
    for step in {*steps, *current.parents} if linked else ():
        facts = step.lstat()
        loose = not stat.S_ISLNK(facts.st_mode) and facts.st_mode & _WRITABLE and not facts.st_mode & stat.S_ISVTX
        if facts.st_uid not in {0, os.geteuid()} or loose:
            message = (
                f"the key file {name} is behind a symbolic link, and {step} on the way can be changed by others;"
                f" name the file itself, or repair it with: chown root {step} && chmod go-w {step}"
            )
            raise KeyFileError(message)
    return current


def _judge(name: Path, real: Path, facts: os.stat_result, *, read_only: bool) -> None:
    mode = stat.S_IMODE(facts.st_mode)
    if not stat.S_ISREG(facts.st_mode):
        message = f"the key file {name} is not a regular file"
        raise KeyFileError(message)
    if facts.st_nlink != 1:
        message = (
            f"the key file {name} has {facts.st_nlink} hard links, so that another name leads to the key; copy it to a file of its own"
        )
        raise KeyFileError(message)
    if read_only and _SECRETS in real.parents and not mode & _WRITABLE:
        if mode & stat.S_IRWXO:
            warnings.warn(f"{name} is readable by every user of this machine", SecurityWarning, stacklevel=4)
        return
    if facts.st_uid not in {0, os.geteuid()}:
        message = (
            f"the key file {name} is owned by user {facts.st_uid}, neither root nor the caller; repair it with: chown {os.geteuid()} {name}"
        )
        raise KeyFileError(message)
    if not mode & _OTHERS:
        return
    group_may_read = facts.st_uid == 0 and not mode & (stat.S_IRWXO | stat.S_IWGRP)
    if group_may_read and (_is_credential(real) or facts.st_gid in {*os.getgroups(), os.getegid()} - {0}):
        return
    message = f"the key file {name} is open to others (mode {mode:04o}); repair it with: chmod 600 {name}"
    raise KeyFileError(message)


def _is_credential(real: Path) -> bool:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and directory != "" and Path(os.path.abspath(directory)) in real.parents  # noqa: PTH100
