# SPDX-License-Identifier: Apache-2.0
"""Commands on documents under kills, failing disks and each other: the old document or the new one, and nothing left over."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from securekit.config import Document
from securekit.wrappers import CertificateWrapper
from tests.cli import config_fault_work
from tests.cli.config_desk import Desk
from tests.conftest import Count

CALLS = "open,openat,creat,write,fsync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,rmdir,fchmod,fchown,ftruncate"
TEXT = "a: fake-one\nb: fake-two\nc: 3\n"
READER = ("--identity", "host.key")
COMMANDS = {
    "set": ("set", "{}", "a", "--stdin"),
    "encrypt": ("encrypt", "{}", "--encrypt", "b"),
    "first encrypt": ("encrypt", "{}", "--environment", "production", "--recipient", "host.pem", "--encrypt", "a", "--encrypt", "b"),
    "rotate": ("rotate", "{}", *READER),
    "edit": ("edit", "{}", *READER),
}


def _quick(*verbs: str) -> list[Any]:
    """Return all commands as parameters, of which these are tried in every run and the others in slow ones: they write alike."""
    return [pytest.param(verb, marks=[] if verb in verbs else [pytest.mark.slow]) for verb in COMMANDS]


class Case:
    """One command on one document, and what must hold whatever happened to it."""

    def __init__(self, verb: str, desk: Desk) -> None:
        self.verb, self.desk = verb, desk
        self.work = desk.folder / "work"
        self.work.mkdir()
        self.log = desk.folder / "log"
        self.file, self.spare = "work/doc.yaml", "spare.yaml"
        if verb == "first encrypt":
            self.old = TEXT.encode()
        else:
            desk.short(TEXT, "a", name="doc.yaml")
            self.old = desk.console.read("doc.yaml")
        self.state = {path: path.read_bytes() for path in self._entries()}
        desk.console.env["EDITOR"] = "sed -i -e s/fake-one/fake-new/"

    def _entries(self) -> list[Path]:
        return [path for path in (self.desk.folder / "state").rglob("*") if path.is_file()]

    def reset(self) -> None:
        for path in (*self.work.iterdir(), *self._entries()):
            path.unlink()
        for path, data in self.state.items():
            path.write_bytes(data)
            path.chmod(0o600)
        for name in (self.file, self.spare):
            self.desk.console.write(name, self.old, mode=0o644)

    def run(self, inject: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command in a traced process."""
        faults = ["-e", f"inject={inject}"] if inject else []
        faster = [] if "signal" in inject else ["--seccomp-bpf"]  # with which strace sends no signals
        tracer = ["strace", "-f", *faster, "-qq", "-o", "/dev/null" if inject else str(self.log), *faults, "-e", f"trace={CALLS}"]
        program = [sys.executable, "-B", config_fault_work.__file__, self.spare, self.file, *COMMANDS[self.verb]]
        environment = {**os.environ, **self.desk.console.env}
        return subprocess.run(
            [*tracer, *program],
            cwd=self.desk.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def points(self) -> list[tuple[str, int]]:
        """Return each call of the work itself that changes something, with its number among its process's calls of that name."""
        seen: dict[str, int] = {}
        found: list[tuple[str, int]] = []
        begun = False
        lines = self.log.read_text().splitlines()
        main = lines[0].split(maxsplit=1)[0]
        for line in lines:
            process, call = line.split(maxsplit=1)
            name = call.split("(", 1)[0]
            if process != main or name not in CALLS.split(","):
                continue
            seen[name] = seen.get(name, 0) + 1
            if "/begin of the work" in line:
                begun = True
            elif "/end of the work" in line:
                break
            elif (
                begun
                and (not name.startswith("open") or re.search("O_CREAT|O_TMPFILE|O_WRONLY|O_RDWR", call))
                and not call.startswith(("write(1,", "write(2,"))
            ):
                found.append((name, seen[name]))
        return found

    def check(self) -> None:
        """See that the document is the old one or the new one, whole."""
        data = self.desk.console.read(self.file)
        if data != self.old:
            document = Document.parse(data, format="yaml")
            opened = document.open([CertificateWrapper.from_files(key=self.desk.folder / "host.key")])
            new = "fake-new" if self.verb in {"set", "edit"} else "fake-one"
            assert {leaf.name: opened.value(leaf) for leaf in document.leaves()} == {"a": new, "b": "fake-two", "c": 3}
            assert "fake-one" not in data.decode()
        for path in self.desk.folder.glob("work/.*"):
            assert b"fake-one" not in path.read_bytes()

    def check_done(self) -> None:
        """Run the command again without a fault; see that all is done, and nothing is left over."""
        arguments = [word.replace("{}", self.file) for word in COMMANDS[self.verb]]
        done = self.desk(*arguments, stdin=config_fault_work.VALUE)
        assert done.code == 0 or "is encrypted already" in done.err, done.err
        self.check()
        self.desk.ok("set", self.file, "a", "--stdin", stdin="fake-last")  # whoever can read nothing goes on
        assert {path.name for path in self.work.iterdir()} == {"doc.yaml"}
        assert all(path.suffix == ".json" for path in self._entries()), self._entries()
        if self.verb == "edit":
            assert list(self.desk.memory.iterdir()) == []


@pytest.mark.repetitive
@pytest.mark.parametrize("verb", _quick("set"))
def test_a_command_killed_at_any_system_call(verb: str, desk: Desk, count: Count) -> None:
    """SIGKILL at every call that changes something: the old document or the new one, a rerun works, and nothing is left over."""
    case = Case(verb, desk)
    case.reset()
    done = case.run()
    assert done.returncode == 0, done.stderr
    case.check_done()
    points = case.points()
    assert {"write", "fsync", "fchmod"} <= {name for name, _ in points}

    killed = 0
    for name, number in points:
        case.reset()
        killed += case.run(f"{name}:signal=KILL:when={number}").returncode != 0
        case.check()
        case.check_done()

    assert killed == len(points)
    count(f"system calls killed at: config {verb}", killed)


@pytest.mark.repetitive
@pytest.mark.parametrize("verb", _quick("set"))
def test_a_disk_that_fails_at_any_call(verb: str, desk: Desk, count: Count) -> None:
    """No space, a broken or read-only disk, at every call and from then on: an error line, the old document, and a retry works."""
    case = Case(verb, desk)
    case.reset()
    assert case.run().returncode == 0
    points = [(name, number) for name, number in case.points() if name not in {"unlink", "unlinkat", "rmdir"}]

    failed = 0
    for turn, (name, number) in enumerate(points):
        case.reset()
        fault, for_good = ("ENOSPC", "EIO", "EROFS", "EDQUOT")[turn % 4], "+" * (turn % 2)
        done = case.run(f"{name}:error={fault}:when={number}{for_good}")
        assert done.returncode in {0, 1}, done.stderr
        assert "Traceback" not in done.stderr
        assert "fake-" not in done.stderr
        failed += done.returncode
        case.check()
        case.check_done()

    assert failed >= len(points) // 2
    count(f"failing system calls: config {verb}", failed)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_really_full_and_a_read_only_disk(desk: Desk) -> None:
    """On a full tmpfs, and on one that is read-only: an error line, the old document to the byte, and nothing beside it."""
    disk = desk.folder / "disk"
    disk.mkdir()
    file = desk.short(TEXT, "a")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        data = desk.console.read(file)
        desk.console.write("disk/doc.yaml", data, mode=0o644)
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        command = ("set", "disk/doc.yaml", "a", "--stdin")
        desk.refused("cannot write disk/doc.yaml: No space left on device; what was there before is intact", *command, stdin="fake-new")
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        desk.refused("cannot write disk/doc.yaml: Read-only file system", *command, stdin="fake-new")
        assert desk.console.read("disk/doc.yaml") == data
        assert [path.name for path in disk.iterdir()] == ["doc.yaml"]
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        desk.ok(*command, stdin="fake-new")
        assert desk.value("disk/doc.yaml", "a") == "fake-new"
    finally:
        subprocess.run(["umount", disk], check=True)


SETS = """
import io, sys
from securekit.__main__ import main
file, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(count):
    sys.argv = ["securekit", "config", "set", file, f"{name}{number % 25}", "--create", "--stdin", "--identity", "host.key"]
    sys.stdin = io.TextIOWrapper(io.BytesIO(f"fake-{name}-{number}".encode()))
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
"""


def test_two_processes_that_set_at_once_lose_nothing(desk: Desk, count: Count) -> None:
    """Two times 50 sessions on one document, each on top of another: whoever is late begins anew on what is there then."""
    file = desk.short(TEXT, "**")
    command = [sys.executable, "-c", SETS, file]

    running = [
        subprocess.Popen([*command, name, "50"], cwd=desk.folder, env={**os.environ, **desk.console.env}, stderr=subprocess.PIPE, text=True)
        for name in ("x", "y")
    ]
    said = [process.communicate(timeout=100)[1] for process in running]
    codes = [process.returncode for process in running]

    assert codes == [0, 0], [text[-400:] for text in said]
    document = desk.document(file)
    opened = document.open([CertificateWrapper.from_files(key=desk.folder / "host.key")])
    found = {leaf.name: opened.value(leaf) for leaf in document.leaves()}
    assert found == {"a": "fake-one", "b": "fake-two", "c": 3} | {f"{n}{i}": f"fake-{n}-{i + 25}" for n in "xy" for i in range(25)}
    assert document.required.generation == 101
    count("values set by two processes at once", 100)


def test_who_is_always_late_is_told_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After five tries the error says that somebody else has changed the file, and nothing of ours is written."""
    file = desk.short(TEXT, "a")
    tries = 0
    real = os.fsync

    def interfering(descriptor: int) -> None:
        nonlocal tries
        if (desk.folder / ".short.yaml.tmp").exists():
            tries += 1
            desk.console.write(file, desk.console.read(file) + b"# again\n", mode=0o644)
        real(descriptor)

    with monkeypatch.context() as faulty:
        faulty.setattr(os, "fsync", interfering)
        desk.refused("was changed by somebody else meanwhile; nothing was written", "set", file, "a", "--stdin", stdin="fake-new")

    assert tries == 5
    assert desk.value(file, "a") == "fake-one"


# ------------------------------------------------------------------------------------------------ what is no file


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket"])
@pytest.mark.parametrize("what", ["document", "identity", "trust", "signing key"])
def test_what_is_no_file_is_refused_at_once(kind: str, what: str, desk: Desk) -> None:
    """A FIFO, a folder or a socket in place of a file blocks nothing, and is refused with its name."""
    file = desk.short(TEXT, "a")
    names = {"document": file, "identity": "host.key", "trust": "trust.toml", "signing key": "alice.key"}
    path = desk.folder / names[what]
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir(mode=0o700)
    else:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening, contextlib.chdir(desk.folder):
            listening.bind(names[what])
    desk.console.write("value", "fake-new")
    trust = ("--trust", "trust.toml") if what == "trust" else ()

    done = desk("set", file, "a", "--from-file", "value", "--identity", "host.key", "--sign", "alice.key", *trust)

    assert done.code in {1, 2}, done.err
    assert path.name in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("what", ["identity", "signing key"])
def test_hard_links_and_links_of_others_are_refused(what: str, desk: Desk) -> None:
    """A key with a second name, or behind a folder that others can write, is not read."""
    file = desk.short(TEXT, "a")
    path = desk.folder / {"identity": "host.key", "signing key": "alice.key"}[what]
    command = ("rotate", file, "--identity", "host.key", "--sign", "alice.key")
    os.link(path, desk.folder / "second")
    desk.refused("hard link", *command)
    (desk.folder / "second").unlink()

    open_to_all = desk.folder / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    path.rename(open_to_all / path.name)
    path.symlink_to(open_to_all / path.name)
    desk.refused(path.name, *command)


def test_a_document_behind_a_link_is_read_and_not_written_through(desk: Desk) -> None:
    """Kubernetes' links are followed for reading; who edits names the file itself."""
    file = desk.short(TEXT, "a")
    (desk.folder / "link.yaml").symlink_to(file)

    assert desk.ok("get", "link.yaml", "a", *READER).out == "fake-one\n"
    desk.refused("a symbolic link is not written through; name the file itself", "set", "link.yaml", "a", "--stdin", stdin="fake-new")
    assert (desk.folder / "link.yaml").is_symlink()
