# SPDX-License-Identifier: Apache-2.0
"""A key file is read only if nobody else could have read or replaced it, a policy only if nobody else could have written it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import socket
import struct
import subprocess
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securekit._wire.key_files import MAX_SIZE, read_key_file, read_policy_file
from securekit.exceptions import KeyFileError, SecurityWarning
from tests.conftest import Count

KEY = b"the key"
NAME = "my key's file"  # so that the commands in messages have something to quote
USER, GROUP = 1234, 2345  # nobody else on the machine has these
CLONE_NEWNS = 0x20000  # from sched.h
_fork = multiprocessing.get_context("fork")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users and mounts need root")


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory all of whose parents are guarded, which /tmp's are not."""
    with tempfile.TemporaryDirectory(dir="/run" if os.geteuid() == 0 else Path.home()) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _key(path: Path, mode: int = 0o600, *, owner: int = -1, group: int = -1) -> Path:
    path.write_bytes(KEY)
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


def _refusal(path: Path, read: Callable[[Path], bytes] = read_key_file) -> str:
    with pytest.raises(KeyFileError) as caught:
        read(path)
    return str(caught.value)


def _repair(path: Path, read: Callable[[Path], bytes] = read_key_file) -> None:
    """Run the command that the refusal names."""
    command = re.search(r"with: (.*)$", _refusal(path, read))
    assert command
    subprocess.run(command[1], shell=True, check=True)  # noqa: S602 - as an operator would paste it


def _verdict(path: Path) -> str:
    """Return what becomes of reading ``path``, as one text that a child can send."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found = read_key_file(path)
        except KeyFileError as error:
            return str(error)
    assert found == KEY
    assert all(warning.category is SecurityWarning for warning in heard)
    return "read" + "".join(f", {warning.message}" for warning in heard)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _in_child(function: Callable[[], None]) -> None:
    """Run ``function`` in a child with mounts of its own, which vanish with it."""
    receiving, sending = _fork.Pipe(duplex=False)

    def run() -> None:
        try:
            assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            function()
        except BaseException:  # noqa: BLE001 - it is shown by the parent
            sending.send(traceback.format_exc())
        else:
            sending.send("")
        finally:
            os.seteuid(0)

    child = _fork.Process(target=run)
    child.start()
    problem = receiving.recv()
    child.join()
    assert not problem, problem


def _become(user: int, *groups: int) -> None:
    """Be another user; for children alone."""
    os.setgroups(groups)
    os.setegid(user)
    os.seteuid(user)


def _mount(kind: str, target: Path, options: str) -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(target)], check=True)


# ------------------------------------------------------------------------------------------------ the file itself


def test_every_mode(tmp_path: Path, count: Count) -> None:
    """Of 512 modes, the 8 that are closed to group and others are read; chmod 600 repairs each of the others."""
    path = _key(tmp_path / NAME)
    accepted = 0
    for mode in range(0o1000):
        path.chmod(mode)
        if mode & 0o077 or not (mode & 0o400 or os.geteuid() == 0):
            assert f"(mode {mode:04o})" in _refusal(path) or mode & 0o400 == 0
        else:
            assert read_key_file(path) == KEY
            accepted += 1
    assert accepted == (8 if os.geteuid() == 0 else 4)
    count("modes of a key file tried", 0o1000)
    for mode in (0o640, 0o604, 0o666, 0o777, 0o610, 0o4755):
        path.chmod(mode)
        _repair(path)
        assert read_key_file(path) == KEY


@needs_root
def test_a_file_of_another_user(tmp_path: Path) -> None:
    """Whoever owns the file can change it, so it is root's or the caller's; chown repairs it."""
    path = _key(tmp_path / NAME, owner=USER)
    assert f"owned by user {USER}" in _refusal(path)
    _repair(path)
    assert read_key_file(path) == KEY


@needs_root
def test_a_caller_who_is_not_root(base: Path) -> None:
    """An ordinary user reads a file of its own, is told to chown a third one's, and cannot read root's."""
    own, third, roots = base / "own", base / "third", base / "root's"
    _key(own, 0o400, owner=USER)
    _key(third, 0o644, owner=USER + 1)
    _key(roots, 0o600)

    def look() -> None:
        _become(USER)
        assert _verdict(own) == "read"
        assert f"owned by user {USER + 1}, neither root nor the caller; repair it with: chown {USER} {third}" in _verdict(third)
        assert _verdict(roots) == f"cannot read the key file {roots}: Permission denied"

    _in_child(look)


@needs_root
def test_a_directory_that_may_not_be_entered(base: Path) -> None:
    """What the caller may not even look for is the same error as what it may not read."""
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    key = _key(closed / "key", owner=USER)
    (base / "link").symlink_to(key)

    def look() -> None:
        _become(USER)
        assert _verdict(key) == f"cannot read the key file {key}: Permission denied"
        assert _verdict(base / "link") == f"cannot read the key file {base / 'link'}: Permission denied"

    _in_child(look)


def test_a_hard_link(tmp_path: Path) -> None:
    """Another name for the file may stand where others can reach it; a copy has none, and keeps the mode."""
    path = _key(tmp_path / NAME)
    (tmp_path / "other").hardlink_to(path)

    assert "2 hard links" in _refusal(path)

    _repair(path)
    assert read_key_file(path) == KEY
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "other").read_bytes() == KEY


@pytest.mark.parametrize("kind", ["fifo", "fifo with a writer", "directory", "socket", "device"])
def test_what_is_no_regular_file(tmp_path: Path, kind: str) -> None:
    """A pipe, directory, socket or device is refused at once: nothing blocks, and nothing is read without end."""
    path = tmp_path / "key"
    writer = None
    if kind.startswith("fifo"):
        os.mkfifo(path, 0o600)
        if kind != "fifo":
            writer = os.open(path, os.O_RDWR)
            os.write(writer, KEY)
    elif kind == "directory":
        path.mkdir(mode=0o700)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path = Path("/dev/zero")
    before = _open_files()

    message = _refusal(path)

    assert "is not a regular file" in message or (kind == "socket" and "No such device or address" in message)
    assert _open_files() == before
    if writer is not None:
        os.close(writer)


def test_a_missing_file(tmp_path: Path) -> None:
    """A name that is not there, or is below a file, says so."""
    _key(tmp_path / "key")
    assert _refusal(tmp_path / "missing") == f"cannot read the key file {tmp_path / 'missing'}: No such file or directory"
    assert "Not a directory" in _refusal(tmp_path / "key" / "key")
    assert "File name too long" in _refusal(tmp_path / ("x" * 300))


def test_sizes(tmp_path: Path) -> None:
    """A file of the largest size is read; an empty one and one byte more are not."""
    path = _key(tmp_path / "key")
    path.write_bytes(bytes(MAX_SIZE))
    assert read_key_file(path) == bytes(MAX_SIZE)
    path.write_bytes(bytes(MAX_SIZE + 1))
    assert _refusal(path).endswith(f"has more than {MAX_SIZE} bytes")
    path.write_bytes(b"")
    assert _refusal(path).endswith("is empty")


def test_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up in the working directory."""
    _key(tmp_path / "key")
    monkeypatch.chdir(tmp_path)
    assert read_key_file("key") == read_key_file("./key") == read_key_file(f"../{tmp_path.name}/key") == KEY


# ------------------------------------------------------------------------------------------------ links


def test_links_through_guarded_directories(base: Path) -> None:
    """Relative, absolute and chained links to files and directories are followed where nobody else can change a step."""
    (base / "a" / "b").mkdir(parents=True)
    key = _key(base / "a" / "b" / NAME)
    (base / "absolute").symlink_to(key)
    (base / "relative").symlink_to(Path("a") / "b" / NAME)
    (base / "chain").symlink_to("relative")
    (base / "directory").symlink_to("a")
    (base / "a" / "up").symlink_to(Path("..") / "chain")

    for name in ("absolute", "relative", "chain", f"directory/b/{NAME}", "directory/up", f"directory/../a/b/{NAME}"):
        assert read_key_file(base / name) == KEY
        assert (base / name).read_bytes() == KEY


def test_two_dots_after_a_link_mean_what_they_mean_to_the_kernel(base: Path) -> None:
    """``link/../key`` is the file beside the link's target, not the one beside the link."""
    (base / "far" / "away").mkdir(parents=True)
    (base / "link").symlink_to("far/away")
    _key(base / "far" / "key")
    (base / "key").write_bytes(b"another one")
    (base / "through").symlink_to("link/../key")

    for name in ("link/../key", "through"):
        assert read_key_file(base / name) == (base / name).read_bytes() == KEY


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720, 0o702])
@pytest.mark.parametrize("loose", ["of the link", "of the file", "above the file", "passed on the way"])
def test_a_link_through_a_loose_directory(base: Path, mode: int, loose: str) -> None:
    """Who may write to a directory on the way can put another file there; chmod repairs it, and so does the file's own name."""
    for name in ("of the link", "above the file", "above the file/of the file", "passed on the way"):
        (base / name).mkdir()
    file = base / "above the file" / "of the file"
    link = base / "of the link" / "link"
    link.symlink_to("../passed on the way/../above the file/of the file/" + NAME)
    key = _key(file / NAME)
    assert read_key_file(link) == KEY
    step = file if loose == "of the file" else base / loose
    step.chmod(mode)

    message = _refusal(link)

    assert f"behind a symbolic link, and {step} on the way can be changed by others; name the file itself: {key}," in message
    assert read_key_file(key) == KEY
    _repair(link)
    assert read_key_file(link) == KEY
    assert step.stat().st_mode & 0o777 == mode & ~0o022


@needs_root
@pytest.mark.parametrize("foreign", ["directory", "link", "directory, loose"])
def test_a_link_through_what_another_user_owns(base: Path, foreign: str) -> None:
    """The owner of a directory or link can change where it leads; the command repairs it."""
    (base / "d").mkdir()
    _key(base / "d" / NAME)
    link = base / "link"
    link.symlink_to(Path("d") / NAME)
    step = link if foreign == "link" else base / "d"
    os.chown(step, USER, -1, follow_symlinks=False)
    if "loose" in foreign:
        step.chmod(0o777)

    assert f"{step} on the way can be changed by others" in _refusal(link)

    _repair(link)
    assert read_key_file(link) == KEY


def test_a_link_through_a_directory_for_everybody(base: Path) -> None:
    """Nobody is told to change the mode of a directory such as /tmp: only naming the file is the repair."""
    (base / "tmp").mkdir()
    (base / "tmp").chmod(0o1777)
    key = _key(base / "tmp" / "key")
    (base / "link").symlink_to(key)

    assert _refusal(base / "link").endswith(f"name the file itself: {key}")
    assert read_key_file(key) == KEY


def test_without_a_link_the_directories_do_not_matter(base: Path) -> None:
    """A file that is ours and closed is ours and closed wherever it lies."""
    base.chmod(0o777)
    assert read_key_file(_key(base / "key")) == KEY


def test_circles_of_links(base: Path) -> None:
    """A link that leads back to itself is refused; 40 links in a row are followed, as the kernel does."""
    (base / "self").symlink_to("self")
    (base / "one").symlink_to("two")
    (base / "two").symlink_to("one/x")
    for name in ("self", "one", "two"):
        assert "circle of symbolic links" in _refusal(base / name)

    _key(base / "0")
    for number in range(1, 42):
        (base / str(number)).symlink_to(str(number - 1))
    assert read_key_file(base / "40") == (base / "40").read_bytes() == KEY
    assert "circle" in _refusal(base / "41")


def test_a_link_to_nothing(base: Path) -> None:
    """A link whose target is gone is a missing file."""
    (base / "link").symlink_to("gone/key")
    assert "No such file" in _refusal(base / "link")


# ------------------------------------------------------------------------------------------------ deployments


def _grant(path: Path, user: int) -> None:
    """Let ``user`` read the file by an access control list, as systemd does; its mask shows as the group's bits."""
    entries = [(0x01, 4, 0xFFFFFFFF), (0x02, 4, user), (0x04, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)]
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))
    assert path.stat().st_mode & 0o777 == 0o440


@needs_root
def test_a_credential_of_systemd(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's file of mode 0440 with a list for the service's user is accepted in $CREDENTIALS_DIRECTORY, and there alone."""
    directory = base / "credentials" / "app.service"
    directory.mkdir(parents=True)
    credential, outside = _key(directory / "securekit.identity", 0o400), _key(base / "outside", 0o400)
    (base / "linked").symlink_to("credentials")
    for path in (credential, outside):
        _grant(path, USER)

    def look() -> None:
        _become(USER)
        for named in (directory, base / "linked" / "app.service", f"{directory}/"):
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(named))
            assert _verdict(credential) == "read"
            assert _verdict(base / "linked" / "app.service" / "securekit.identity") == "read"
            assert "open to others (mode 0440)" in _verdict(outside)
        for other in ("", str(base / "credentials" / "app"), str(base / "nowhere")):
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", other)
            assert "open to others (mode 0440)" in _verdict(credential)

    _in_child(look)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    for mode in (0o444, 0o460, 0o441):
        credential.chmod(mode)
        assert f"open to others (mode {mode:04o})" in _refusal(credential)


@needs_root
def test_a_group_of_ours_may_read_roots_file(base: Path, count: Count) -> None:
    """Of 512 modes of root's file, those are read that give our group no more than reading, and others nothing."""
    path = _key(base / "key", group=GROUP)

    def look() -> None:
        _become(USER, GROUP)
        for mode in range(0o1000):
            os.seteuid(0)
            path.chmod(mode)
            os.seteuid(USER)
            readable = bool(mode & 0o040)
            assert (_verdict(path) == "read") == (readable and not mode & 0o027)
        os.seteuid(0)
        os.chown(path, USER + 1, GROUP)
        path.chmod(0o440)
        os.seteuid(USER)
        assert "owned by user" in _verdict(path)  # not root's

    _in_child(look)
    os.chown(path, 0, 0)
    path.chmod(0o440)
    assert "open to others" in _refusal(path)  # root's own group is no fsGroup
    count("modes of a key file tried", 0o1000)


@needs_root
def test_a_secret_of_kubernetes(base: Path) -> None:
    """A secret with fsGroup is accepted as the kubelet mounts it: read-only, through ``..data``, in a directory of mode 3777."""
    volume = base / "volume"
    volume.mkdir()

    def look() -> None:
        _mount("tmpfs", volume, f"mode=3777,gid={GROUP}")
        version = volume / "..2026_11_25_19_00_00.123456789"
        version.mkdir()
        os.chown(version, 0, GROUP)
        version.chmod(0o2755)
        _key(version / "root.key", 0o440, owner=0, group=GROUP)
        _key(version / "open.key", 0o644, owner=0, group=GROUP)
        (volume / "..data").symlink_to(version.name)
        for name in ("root.key", "open.key"):
            (volume / name).symlink_to(f"..data/{name}")
        _become(USER, GROUP)
        assert _verdict(volume / "root.key").endswith(f"name the file itself: {version / 'root.key'}")  # it could be changed
        os.seteuid(0)
        _mount("tmpfs", volume, "remount,ro")
        os.seteuid(USER)

        assert _verdict(volume / "root.key") == "read"
        assert "open to others (mode 0644), on a read-only mount; mount it with mode 0440" in _verdict(volume / "open.key")
        os.seteuid(0)
        os.setgroups([])
        os.seteuid(USER)
        assert "Permission denied" in _verdict(volume / "root.key")

    _in_child(look)


@needs_root
def test_a_secret_of_docker(base: Path) -> None:
    """Files below /run/secrets are accepted on a read-only mount, with a warning if every user can read them."""

    def look() -> None:
        host = Path("/run")
        _mount("tmpfs", host, "mode=755")
        secrets = host / "secrets"
        (secrets / "app").mkdir(parents=True)
        for name, mode, owner in [
            ("root", 0o444, 0),
            ("user", 0o444, USER),
            ("closed", 0o400, USER),
            ("loose", 0o666, 0),
            ("app/deep", 0o444, 0),
        ]:
            _key(secrets / name, mode, owner=owner)
        (host / "elsewhere").mkdir()
        _key(host / "elsewhere" / "root", 0o444)

        assert "open to others (mode 0444)" in _verdict(secrets / "root")  # not yet read-only
        assert f"owned by user {USER}" in _verdict(secrets / "closed")
        for directory in (secrets, host / "elsewhere"):
            subprocess.run(["mount", "--bind", str(directory), str(directory)], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(directory)], check=True)

        for name in ("root", "user", "app/deep"):
            assert _verdict(secrets / name) == f"read, the key file {secrets / name} is readable by every user of this machine"
        assert _verdict(secrets / "closed") == "read"
        assert "open to others (mode 0666), on a read-only mount" in _verdict(secrets / "loose")
        assert "open to others (mode 0444), on a read-only mount" in _verdict(host / "elsewhere" / "root")
        if Path("/var/run").is_symlink():
            assert _verdict(Path("/var/run/secrets/closed")) == "read"

    _in_child(look)


# ------------------------------------------------------------------------------------------------ policies


def test_every_mode_of_a_policy(tmp_path: Path, count: Count) -> None:
    """Whoever reads it, a policy is taken if group and others may not write; chmod go-w repairs each other mode."""
    path = _key(tmp_path / NAME)
    for mode in range(0o1000):
        path.chmod(mode)
        if mode & 0o022 or not (mode & 0o400 or os.geteuid() == 0):
            said = _refusal(path, read_policy_file)
            assert f"the policy file {path} can be changed by others (mode {mode:04o})" in said or mode & 0o400 == 0
        else:
            assert read_policy_file(path) == KEY
    count("modes of a policy file tried", 0o1000)
    for mode, after in ((0o664, 0o644), (0o646, 0o644), (0o777, 0o755), (0o620, 0o600)):
        path.chmod(mode)
        _repair(path, read_policy_file)
        assert read_policy_file(path) == KEY
        assert path.stat().st_mode & 0o777 == after


@needs_root
def test_a_policy_of_another_user(base: Path) -> None:
    """Root's and the caller's are taken; a third user's is not, and chown repairs it."""
    roots, own, third = (base / name for name in ("root's", "own", "third"))
    _key(roots, 0o644)
    _key(own, 0o644, owner=USER)
    _key(third, 0o644, owner=USER + 1)

    def look() -> None:
        _become(USER)
        assert read_policy_file(roots) == read_policy_file(own) == KEY
        assert f"the policy file {third} is owned by user {USER + 1}, neither root nor the caller" in _refusal(third, read_policy_file)

    _in_child(look)
    _repair(third, read_policy_file)
    assert read_policy_file(third) == KEY


def test_a_policy_behind_a_link(base: Path) -> None:
    """A link is followed where nobody else can change a step, as for a key."""
    (base / "d").mkdir()
    _key(base / "d" / NAME, 0o644)
    link = base / "link"
    link.symlink_to(Path("d") / NAME)
    assert read_policy_file(link) == KEY
    (base / "d").chmod(0o777)

    assert f"the policy file {link} is behind a symbolic link, and {base / 'd'} on the way" in _refusal(link, read_policy_file)

    _repair(link, read_policy_file)
    assert read_policy_file(link) == KEY


@pytest.mark.parametrize("kind", ["fifo", "directory", "missing", "empty", "large"])
def test_what_is_no_policy(tmp_path: Path, kind: str) -> None:
    """Pipes and directories are refused at once, and so are files of no or too many bytes, and names of nothing."""
    path = tmp_path / "policy"
    expected = {"missing": "No such file", "empty": "is empty", "large": f"more than {MAX_SIZE} bytes"}
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "directory":
        path.mkdir(mode=0o700)
    elif kind != "missing":
        path.write_bytes(bytes(MAX_SIZE + 1) if kind == "large" else b"")
        path.chmod(0o644)
    assert expected.get(kind, "is not a regular file; name the file itself") in _refusal(path, read_policy_file)


def test_a_policy_of_the_largest_size_with_a_second_name(tmp_path: Path) -> None:
    """Another name for the file changes nothing: what is judged is who may write it."""
    path = _key(tmp_path / "policy", 0o644)
    path.write_bytes(bytes(MAX_SIZE))
    (tmp_path / "other").hardlink_to(path)
    assert read_policy_file(path) == bytes(MAX_SIZE)


def test_a_file_that_is_replaced_while_it_is_read(base: Path) -> None:
    """A reader gets the old bytes or the new ones, and takes a file without a name for no second name of the key."""
    path = _key(base / NAME)
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            _key(base / "next").replace(path)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        assert {read_key_file(path) for _ in range(1000)} == {KEY}
    finally:
        stop.set()
        writer.join()
