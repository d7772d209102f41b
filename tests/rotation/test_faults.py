# SPDX-License-Identifier: Apache-2.0
"""Rotations under killed processes and failing disks: nothing is lost, a rerun completes, and nothing is left over."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from securekit.envelope import Envelope, inspect_file
from securekit.keyring import FileKeyStore
from tests.conftest import Count
from tests.rotation import fault_work
from tests.rotation.fault_work import FILES, NEW, OLD, PATH

WHAT = ("files", "keyrings", "rows")
# Those of SQLite are killed as well. That a file was made shows in what is done to it next: openat is also how Python reads modules.
CALLS = "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,ftruncate,flock,mkdir"
FAILING = "write,pwrite64,fsync,fdatasync,renameat"


class Rotation:
    """A folder that is rotated in a process of its own, and what must hold whatever happens to it."""

    def __init__(self, folder: Path, what: str) -> None:
        self.what = what
        self.folder, self.template, self.log = (folder / name for name in ("work", "template", "log"))
        fault_work.make(self.template)
        self.before = self.contents(self.template)

    def reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.template, self.folder)

    def run(self, inject: str = "") -> subprocess.CompletedProcess[str]:
        faults = ["-e", f"inject={inject}"] if inject else []
        program = [sys.executable, "-B", fault_work.__file__, str(self.folder), self.what]
        log = "/dev/null" if inject else str(self.log)
        command = ["strace", "-f", "-qq", "-o", log, *faults, "-e", f"trace={CALLS}", *program]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def points(self) -> list[tuple[str, int]]:
        """Return each call of the rotation itself, with its number among the calls of its name in its thread: so strace counts."""
        seen: Counter[tuple[str, str]] = Counter()
        found: dict[tuple[str, int], None] = {}
        begun = False
        for line in self.log.read_text().splitlines():
            thread, call = line.split(maxsplit=1)
            name = call.split("(", 1)[0]
            if name not in CALLS.split(","):
                continue
            seen[thread, name] += 1
            if "/begin of the work" in line:
                begun = True
            elif "/end of the work" in line:
                break
            elif begun and name != "openat":
                found[name, seen[thread, name]] = None
        return list(found)

    @staticmethod
    def contents(folder: Path) -> dict[str, bytes]:
        """Return every plaintext, having opened all of it."""
        store = FileKeyStore(folder / "keys", wrapper=NEW, also_open=OLD)
        found = {}
        for file in sorted((folder / "files").iterdir()):
            with Envelope([NEW, OLD]).open_reader(file, context={}) as reader:
                found[file.name] = reader.read()
        with contextlib.closing(sqlite3.connect(folder / "table.db")) as database:
            for number, record in database.execute("select id, iban from customers order by id"):
                found[str(number)] = store.keyring(PATH).decrypt(record, context={"id": str(number)})
        for path in store.paths():
            found[path] = ",".join(key.id for key in store.keyring(path).keys()).encode()
        return found

    def check(self) -> None:
        """See that nothing is lost."""
        assert self.contents(self.folder) == self.before

    def check_done(self) -> None:
        """See that all is done, and nothing left over."""
        self.check()
        store = FileKeyStore(self.folder / "keys", wrapper=NEW)
        ring = store.keyring(PATH)
        assert [store.keyring(path).recipients[0].key_ref for path in store.paths()] == [NEW.key_ref] * 2
        files = list((self.folder / "files").iterdir())
        assert len(files) == FILES
        for file in files:
            assert inspect_file(file).faults == ()
            assert OLD.key_ref.encode() not in file.read_bytes()[:8192]
        with contextlib.closing(sqlite3.connect(self.folder / "table.db")) as database:
            assert not any(ring.needs_reencrypt(record) for (record,) in database.execute("select iban from customers"))
        left = [path for path in self.folder.rglob("*") if path.name.endswith(".tmp")]
        assert left == []
        for path in self.folder.rglob("*"):
            assert path.is_dir() or path.suffix == ".db-shm" or b"row 1" not in path.read_bytes()


@pytest.fixture(params=WHAT)
def work(tmp_path: Path, request: pytest.FixtureRequest) -> Rotation:
    rotation = Rotation(tmp_path, request.param)
    rotation.reset()
    done = rotation.run()
    assert done.returncode == 0, done.stderr
    return rotation


def killed_at(work: Rotation, points: list[tuple[str, int]]) -> int:
    killed = 0
    for name, number in points:
        work.reset()
        killed += work.run(f"{name}:signal=KILL:when={number}").returncode == -signal.SIGKILL
        work.check()
        fault_work.rotate(work.folder)
        work.check_done()
    return killed


def test_a_rotation_killed_at_system_calls_loses_nothing(work: Rotation, count: Count) -> None:
    """SIGKILL at state-changing calls throughout, those on the journal among them: all opens, and a rerun completes."""
    points = work.points()
    assert {"write", "fsync", "flock"} <= {name for name, _ in points}
    some = points[:: max(len(points) // 6, 1)]
    assert killed_at(work, some) == len(some)
    count("system calls of a rotation killed at", len(some))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_rotation_killed_at_every_system_call_loses_nothing(work: Rotation, count: Count) -> None:
    """The same at every one of them."""
    points = work.points()
    assert killed_at(work, points) == len(points)
    count("system calls of a rotation killed at", len(points))


def failing_at(work: Rotation, points: list[tuple[str, int]], for_good: str) -> int:
    failed = 0
    for turn, (name, number) in enumerate(points):
        work.reset()
        fault = ("ENOSPC", "EIO", "EROFS", "EDQUOT")[turn % 4]
        done = work.run(f"{name}:error={fault}:when={number}{for_good}")
        assert done.returncode in {0, 3}, done.stderr
        failed += done.returncode == 3
        work.check()
        fault_work.rotate(work.folder)
        work.check_done()
    return failed


@pytest.mark.parametrize("for_good", ["", "+"], ids=["once", "for good"])
def test_a_disk_that_fails_loses_nothing(work: Rotation, for_good: str, count: Count) -> None:
    """No space, a broken or read-only disk, once and for good: our own error, nothing lost, and a retry works."""
    points = [point for point in work.points() if point[0] in FAILING.split(",")]
    some = points[3 :: max(len(points) // 3, 1)]
    failed = failing_at(work, some, for_good)
    assert failed >= len(some) - 1
    count("failing system calls of a rotation", failed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("for_good", ["", "+"], ids=["once", "for good"])
def test_a_disk_that_fails_at_any_call_loses_nothing(work: Rotation, for_good: str, count: Count) -> None:
    """The same at every one of them."""
    points = [point for point in work.points() if point[0] in FAILING.split(",")]
    failed = failing_at(work, points, for_good)
    count("failing system calls of a rotation", failed)


def killed_at_random(folder: Path, *, files: int, kills: int) -> int:
    """Rotate many files and rows in a process that is killed again and again; return how often it was."""
    fault_work.make(folder / "work", files=files, rows=files)
    before = Rotation.contents(folder / "work")
    program = [sys.executable, "-B", fault_work.__file__, str(folder / "work"), ""]
    generator = random.Random(20261126)
    killed = 0
    while killed < kills:
        process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
        time.sleep(0.6 + generator.random() * 0.6)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        killed += 1
    fault_work.rotate(folder / "work")
    assert Rotation.contents(folder / "work") == before
    assert not [path for path in (folder / "work").rglob("*") if path.name.endswith(".tmp")]
    return killed


def test_a_rotation_killed_at_random_loses_nothing(tmp_path: Path, count: Count) -> None:
    """Killed at a few random moments of 300 files and rows."""
    count("rotations killed at random", killed_at_random(tmp_path, files=300, kills=4))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_rotation_of_10_000_files_killed_50_times_loses_nothing(tmp_path: Path, count: Count) -> None:
    """The same of 10,000 files and 10,000 rows, 50 times."""
    killed = killed_at_random(tmp_path, files=10_000, kills=50)
    assert killed >= 20
    count("rotations killed at random", killed)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_under_the_journal_stops_a_run_and_nothing_else(tmp_path: Path) -> None:
    """On a real tmpfs of 64 KiB that is full, the run says so; with room it goes on."""
    from securekit import rotation
    from securekit.exceptions import RotationError

    fault_work.make(tmp_path / "work")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        filler = small / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(70_000))
        source = rotation.SealedFiles(tmp_path / "work" / "files")
        plan = rotation.plan(source, envelope=Envelope(NEW, also_open=[OLD]))
        with pytest.raises((RotationError, OSError), match="No space left on device"):
            rotation.run(plan, journal=small / "journal")
        filler.unlink()
        report = rotation.run(plan, journal=small / "journal")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert (report.state, report.changed) == ("finished", FILES)
