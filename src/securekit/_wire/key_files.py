# SPDX-License-Identifier: Apache-2.0
"""The one reader of private keys and KEKs, which others must not have read, and of policies, which others must not have written.

RULE of this file: what is judged is the opened descriptor, never a name that may mean another file a moment later.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from shlex import quote

from securekit.exceptions import KeyFileError, SecurityWarning

__all__ = ["read_key_file", "read_policy_file", "read_secret_text"]

MAX_SIZE = 64 * 1024  # bytes; a PKCS#12 file with its chain has a few thousand
_MAX_LINKS = 40  # as Linux
_SECRETS = Path("/run/secrets")  # where Docker mounts secrets, read-only and world-readable
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def read_key_file(path: str | os.PathLike[str], *, max_size: int = MAX_SIZE) -> bytes:
    """Return the bytes of a key file.

    It must be a regular file with one hard link, owned by root or the caller, and closed to group and others. A symbolic
    link is followed only if every directory and link on the way is owned by root or the caller and writable by nobody
    else, be it because the mount is read-only. Accepted as they are: files in ``$CREDENTIALS_DIRECTORY`` (systemd),
    root's files that our group may read (Kubernetes' fsGroup), and, with a warning, files below ``/run/secrets`` on a
    read-only mount (Docker).

    Raises:
        securekit.exceptions.KeyFileError: The file is missing, empty, too large, or not guarded; with the repair.
    """
    return _read(Path(path), "key file", _judge_key, max_size)


def read_policy_file(path: str | os.PathLike[str], *, max_size: int = MAX_SIZE) -> bytes:
    """Return the bytes of a file that says whom to believe: everybody may read it, and nobody else may have written it.

    It must be a regular file, owned by root or the caller, and not writable by group or others. A symbolic link is followed
    as by `read_key_file`.

    Raises:
        securekit.exceptions.KeyFileError: The file is missing, empty, too large, or not guarded; with the repair.
    """
    return _read(Path(path), "policy file", _judge_policy, max_size)


_Judge = Callable[[str, Path, os.stat_result, bool], None]


def _read(name: Path, what: str, judge: _Judge, max_size: int) -> bytes:
    title = f"the {what} {name}"
    try:
        real = _resolve(name, title)
        # O_NONBLOCK: a FIFO in place of the file must not block us.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                message = f"{title} is not a regular file; name the file itself"
                raise KeyFileError(message)
            judge(title, real, facts, _is_read_only(descriptor))
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(max_size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        message = f"cannot read {title}: {error.strerror}"
        raise KeyFileError(message) from None
    if not 0 < len(data) <= max_size:
        message = f"{title} is empty" if not data else f"{title} has more than {max_size} bytes"
        del data  # error trackers show the variables of a frame that raises
        raise KeyFileError(message)
    return data


def read_secret_text(path: str | os.PathLike[str]) -> str:
    """Return the password or passphrase in a guarded file, without the line's end behind it.

    Raises:
        securekit.exceptions.KeyFileError: As `read_key_file`; or it is not UTF-8.
    """
    try:
        return read_key_file(path).decode().removesuffix("\n")
    except UnicodeDecodeError:
        pass  # that error would carry the secret
    message = f"the passphrase file {path} is not UTF-8 text"
    raise KeyFileError(message)


def _resolve(name: Path, title: str) -> Path:
    """Return the file behind ``name`` as the kernel finds it, having checked every step if one of them is a link."""
    pending = list(reversed(Path.cwd().joinpath(name).parts))
    current, links = Path(pending.pop()), 0
    steps = {current: None}  # a dictionary keeps the order in which they were taken
    while pending:
        part = pending.pop()
        step = current.parent if part == ".." else current / part
        steps[step] = None
        if not step.is_symlink():
            current = step
            continue
        links += 1
        if links > _MAX_LINKS:
            message = f"{title} is behind a circle of symbolic links; name the file itself"
            raise KeyFileError(message)
        pending += reversed(step.readlink().parts)  # an absolute target begins with "/", which replaces what is before it
    del steps[current]  # the file is judged once it is open
    for step in steps if links else ():
        repair = _repair(step)
        if repair is not None:
            message = (
                f"{title} is behind a symbolic link, and {step} on the way can be changed by others;"
                f" name the file itself: {current}{repair}"
            )
            raise KeyFileError(message)
    return current


def _repair(step: Path) -> str | None:
    """Return what to do about a directory or link that others can change; None if they cannot."""
    facts = step.lstat()
    loose = not stat.S_ISLNK(facts.st_mode) and facts.st_mode & _WRITABLE and not _is_read_only(step)
    commands = []
    if facts.st_uid not in {0, os.geteuid()}:
        commands.append(f"chown -h root {quote(str(step))}")
    if loose:
        if facts.st_mode & stat.S_ISVTX:
            return ""  # such as /tmp: it is for everybody on purpose
        commands.append(f"chmod go-w {quote(str(step))}")
    return f", or repair it with: {' && '.join(commands)}" if commands else None


def _judge_key(title: str, real: Path, facts: os.stat_result, read_only: bool) -> None:  # noqa: FBT001 - a callback's shape
    mode, file = stat.S_IMODE(facts.st_mode), quote(str(real))
    if facts.st_nlink > 1:  # it has none if it was replaced just after it was opened: then no other name leads to it
        message = (
            f"{title} has {facts.st_nlink} hard links, so that another name leads to the key; find it and remove it, or"
            f" make this one a file of its own with: cp -p {file} {file}.own && mv {file}.own {file}"
        )
        raise KeyFileError(message)
    if read_only and _SECRETS in real.parents and not mode & _WRITABLE:
        if mode & stat.S_IRWXO:
            warnings.warn(f"{title} is readable by every user of this machine", SecurityWarning, stacklevel=5)
        return
    _check_owner(title, real, facts)
    if not mode & _OTHERS:
        return
    group_may_read = facts.st_uid == 0 and not mode & (stat.S_IRWXO | stat.S_IWGRP)
    if group_may_read and (_is_credential(real) or facts.st_gid in {*os.getgroups(), os.getegid()} - {0}):
        return
    message = f"{title} is open to others (mode {mode:04o}); repair it with: chmod 600 {file}"
    if read_only:
        message = (
            f"{title} is open to others (mode {mode:04o}), on a read-only mount;"
            " mount it with mode 0440 and a group of the service (Kubernetes: defaultMode and fsGroup)"
        )
    raise KeyFileError(message)


def _judge_policy(title: str, real: Path, facts: os.stat_result, read_only: bool) -> None:  # noqa: ARG001, FBT001 - a callback's shape
    _check_owner(title, real, facts)
    mode = stat.S_IMODE(facts.st_mode)
    if mode & _WRITABLE:
        message = f"{title} can be changed by others (mode {mode:04o}); repair it with: chmod go-w {quote(str(real))}"
        raise KeyFileError(message)


def _check_owner(title: str, real: Path, facts: os.stat_result) -> None:
    if facts.st_uid not in {0, os.geteuid()}:
        message = (
            f"{title} is owned by user {facts.st_uid}, neither root nor the caller; repair it with: chown {os.geteuid()} {quote(str(real))}"
        )
        raise KeyFileError(message)


def _is_read_only(file: int | Path) -> bool:
    return bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def _is_credential(real: Path) -> bool:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and directory != "" and Path(directory).resolve() in real.parents
