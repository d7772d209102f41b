# SPDX-License-Identifier: Apache-2.0
"""Sealed files under killed processes and failing disks: nothing is lost, a rerun completes, and nothing is left over."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from securekit.envelope import Envelope, inspect_file
from securekit.exceptions import EnvelopeError
from tests.conftest import Count
from tests.envelope import fault_work
from tests.envelope.fault_work import CONTEXT, DATA, NEW, OLD

CALLS = "open,openat,creat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,ftruncate,flock,close"


def work(verb: str, path: Path, spare: Path, *, inject: str = "", log: str = "/dev/null") -> subprocess.CompletedProcess[str]:
    """Do the work in a process of its own, which is traced, with a fault."""
    fault_work.write(str(spare))  # which is worked on as well
    faults = ["-e", f"inject={inject}"] if inject else []
    faster = [] if "signal" in inject else ["--seccomp-bpf"]  # with which strace sends no signals
    program = [sys.executable, "-B", fault_work.__file__, verb, str(path), str(spare)]
    command = ["strace", "-f", *faster, "-qq", "-o", log, *faults, "-e", f"trace={CALLS}", *program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def points(log: Path) -> list[tuple[str, int]]:
    """Return each call of the work itself, with its number among the calls of its name."""
    seen: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    begun = False
    for line in log.read_text().splitlines():
        name = line.split(maxsplit=1)[1].split("(", 1)[0]
        if name not in CALLS.split(","):
            continue
        seen[name] = seen.get(name, 0) + 1
        if "/begin of the work" in line:
            begun = True
        elif "/end of the work" in line:
            break
        elif begun:
            found.append((name, seen[name]))
    return found


class Case:
    """One kind of work on a file, and what must hold whatever happened to it."""

    def __init__(self, verb: str, folder: Path) -> None:
        self.verb, self.folder = verb, folder / "work"
        self.folder.mkdir()
        self.path, self.spare = self.folder / "file.sk", folder / "spare.sk"
        self.log = folder / "log"

    def reset(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        if self.verb != "write":
            fault_work.write(str(self.path))

    def run(self, inject: str = "") -> subprocess.CompletedProcess[str]:
        return work(self.verb, self.path, self.spare, inject=inject, log="/dev/null" if inject else str(self.log))

    def run_here(self) -> None:
        fault_work.VERBS[self.verb](str(self.path))

    def check(self) -> None:
        """See that nothing is lost or half done."""
        if self.verb != "write" or self.path.exists():
            with Envelope([OLD, NEW]).open_reader(self.path, context=CONTEXT) as reader:
                assert reader.read() == DATA
        out = self.folder / "file.sk.out"
        assert not out.exists() or out.read_bytes() == DATA

    def check_done(self) -> None:
        """See that all is done, and nothing left over."""
        self.check()
        assert {path.name for path in self.folder.iterdir()} == {"file.sk"} | ({"file.sk.out"} if self.verb == "decrypt" else set())
        assert inspect_file(self.path).faults == ()
        if self.verb == "rewrap":
            assert OLD.key_ref.encode() not in self.path.read_bytes()[:8192]


VERBS = {"rewrap": {"flock", "pwrite64", "fsync", "close"}, "write": {"write", "fsync", "linkat"}, "decrypt": {"write", "fsync", "linkat"}}


@pytest.mark.repetitive
@pytest.mark.parametrize("verb", VERBS)
def test_a_process_killed_at_any_system_call_loses_nothing(verb: str, tmp_path: Path, count: Count) -> None:
    """SIGKILL at every state-changing call: the file opens, or is not there yet; a rerun completes, and leaves nothing over."""
    case = Case(verb, tmp_path)
    case.reset()
    assert case.run().returncode == 0
    case.check_done()
    calls = points(case.log)
    assert VERBS[verb] <= {name for name, _ in calls}

    killed = 0
    for name, number in calls:
        case.reset()
        killed += case.run(f"{name}:signal=KILL:when={number}").returncode != 0
        case.check()
        case.run_here()
        case.check_done()

    assert killed == len(calls)
    count(f"system calls killed at: {verb}", killed)


@pytest.mark.repetitive
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("for_good", ["", "+"], ids=["once", "for good"])
def test_a_disk_that_fails_at_any_call_loses_nothing(verb: str, for_good: str, tmp_path: Path, count: Count) -> None:
    """No space, a broken or read-only disk, at every call: an ``OSError``, the old bytes or the new ones, and a retry works."""
    case = Case(verb, tmp_path)
    case.reset()
    assert case.run().returncode == 0
    faults = [(name, number) for name, number in points(case.log) if name not in {"close", "flock", "unlink", "unlinkat"}]

    failed = 0
    for turn, (name, number) in enumerate(faults):
        case.reset()
        fault = ("ENOSPC", "EIO", "EROFS", "EDQUOT")[turn % 4]
        done = case.run(f"{name}:error={fault}:when={number}{for_good}")
        assert done.returncode in {0, getattr(errno, fault)}
        failed += done.returncode != 0
        case.check()
        assert not [path for path in case.folder.iterdir() if path.name.endswith(".tmp")]
        case.run_here()
        case.check_done()

    assert failed >= len(faults) - 2
    count(f"failing system calls: {verb}", failed)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a tmpfs of 256 KiB, a file that does not fit leaves nothing, and one that fits is rewrapped while the disk is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        with pytest.raises(OSError, match="No space"), Envelope(OLD).open_writer(disk / "large.sk", context=CONTEXT) as writer:
            writer.write(bytes(1 << 20))
        assert list(disk.iterdir()) == []
        with Envelope(OLD).open_writer(disk / "file.sk", context=CONTEXT) as writer:
            writer.write(DATA[:100_000])
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        assert Envelope(NEW, also_open=[OLD]).rewrap_file(disk / "file.sk")
        assert Envelope(NEW).open_reader(disk / "file.sk", context=CONTEXT).read() == DATA[:100_000]
        with pytest.raises(OSError, match="No space"), Envelope(OLD).open_writer(disk / "file.sk", context=CONTEXT) as writer:
            writer.write(bytes(1 << 20))
        assert sorted(path.name for path in disk.iterdir()) == ["file.sk", "filler"]
        assert Envelope(NEW).open_reader(disk / "file.sk", context=CONTEXT).read() == DATA[:100_000]
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(OSError, match="Read-only"):
            Envelope(OLD, also_open=[NEW]).rewrap_file(disk / "file.sk")
        with pytest.raises(OSError, match="Read-only"):
            Envelope(OLD).open_writer(disk / "other.sk", context=CONTEXT)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("at", [1, 2])
def test_a_header_that_does_not_read_back_leaves_the_other_one(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that flips a bit of what it is given is found out at once, and the file still opens."""
    path = tmp_path / "file.sk"
    fault_work.write(str(path))
    real, writes = os.pwrite, 0

    def flipping(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal writes
        writes += 1
        return real(descriptor, bytes([data[0] ^ (writes == at)]) + data[1:], offset)

    with monkeypatch.context() as faulty:
        faulty.setattr(os, "pwrite", flipping)
        with pytest.raises(EnvelopeError, match="the other header still opens"):
            Envelope(NEW, also_open=[OLD]).rewrap_file(path)

    assert Envelope([OLD, NEW]).open_reader(path, context=CONTEXT).read() == DATA
    assert Envelope(NEW, also_open=[OLD]).rewrap_file(path)
    assert inspect_file(path).faults == ()
