# SPDX-License-Identifier: Apache-2.0
"""``securekit encrypt`` and ``decrypt`` of files and pipes, to recipients of every kind, whole or in part."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from securekit import CertificateWrapper, Envelope
from tests.cli.conftest import Console
from tests.cli.terminal import Terminal
from tests.conftest import Count

DATA = bytes(range(256)) * 200  # three chunks and a part
MAGIC = b"sk-envelope/1\n"
SECRET = "canary-93be-passphrase"
OPENS = ("--identity", "host.key")


@pytest.fixture
def host(empty: Console) -> Console:
    """A console in a folder with ``data``, the key pairs of ``host`` and ``other``, and no keystore."""
    for name in ("host", "other"):
        empty.ok("identity", "new", "--key", f"{name}.key", "--cert", f"{name}.pem", "--name", f"{name}.example")
    empty.write("data", DATA)
    empty.env = {}
    return empty


def seal(host: Console, *options: str, to: str = "host.pem") -> str:
    host.ok("encrypt", "data", "--to", to, *options, "-o", "data.sk")
    return "data.sk"


KINDS = {  # what is typed behind --to and --identity
    "pem": ("host.pem", "host.key"),
    "pem by its kind": ("cert:host.pem", "cert:host.pem?key=host.key"),
    "der": ("host.der", "host.key"),
    "pkcs12": ("pkcs12:host.p12?password_file=words", "pkcs12:host.p12?password_file=words"),
    "encrypted": ("host.pem", "cert:?key=host.enc&password_file=words"),
    "both in one file": ("both.pem", "both.pem"),
    "odd name": ("a+b & c.pem", "a+b & c=100%.key"),
    "pq": ("pq.pub", "pq.key"),
    "pq by its kind": ("pq:pq.pub", "pq:?key=pq.key"),
    "kek": ("root.key", "root.key"),
    "kek by its kind": ("local:root.key?label=eu", "local:root.key?label=eu"),
    "passphrase": ("passphrase:words", "passphrase:words"),
}


@pytest.fixture
def keys(host: Console) -> Console:
    """Every kind of key file there is."""
    host.write("words", SECRET + "\n")
    host.ok("keys", "new-kek", "root.key")
    host.ok("identity", "new", "--pq", "--key", "pq.key", "--public", "pq.pub")
    for command in (
        "x509 -in host.pem -outform der -out host.der",
        "pkcs12 -export -inkey host.key -in host.pem -passout file:words -out host.p12",
        "pkcs8 -topk8 -in host.key -passout file:words -out host.enc",
    ):
        subprocess.run(["openssl", *command.split()], cwd=host.folder, check=True, capture_output=True)
    for name in ("host.p12", "host.enc"):
        (host.folder / name).chmod(0o600)
    host.write("both.pem", host.read("host.key") + host.read("host.pem"))
    host.write("a+b & c.pem", host.read("host.pem"))
    host.write("a+b & c=100%.key", host.read("host.key"))
    return host


@pytest.mark.parametrize(("to", "identity"), KINDS.values(), ids=KINDS.keys())
def test_each_kind_of_recipient(to: str, identity: str, keys: Console, count: Count) -> None:
    """What is sealed to a name, or to the file of a key of whatever kind, opens with the other half, and with nothing else."""
    seal(keys, to=to)
    assert keys.ok("decrypt", "data.sk", "--identity", identity).raw == DATA
    assert keys("decrypt", "data.sk", "--identity", "other.key").code == 1
    count("kinds of recipients sealed to", 1)


@pytest.mark.measured
@pytest.mark.parametrize("identity", ["host.enc", "host.p12", "passphrase:"])
def test_a_password_is_asked_for_and_not_shown(identity: str, keys: Console) -> None:
    """What opens only with a password asks for it on the terminal."""
    seal(keys, "--to", "passphrase:words")
    opening = Terminal(keys, "decrypt", "data.sk", "--identity", identity, "-o", "out")
    opening.wait_for(b": ")
    opening.type(f"{SECRET}\n".encode())
    assert opening.end() == 0, opening.plain
    assert keys.read("out") == DATA
    assert SECRET not in opening.plain


def test_each_of_several_recipients_opens_alone(host: Console) -> None:
    """A certificate, a KEK, a passphrase in a file and a keyring are recipients of one file, and each opens it."""
    host.ok("keys", "new-kek", "root.key")
    host.ok("keys", "new-kek", "kek")
    host.write("words", SECRET)
    host.env = {"SECUREKIT_STORE": "file:keys/", "SECUREKIT_WRAP": "local:root.key"}
    host.ok("keys", "create", "eu/acme/files")
    seal(host, "--to", "kek", "--to", "passphrase:words", "--keyring", "eu/acme/files")
    for identity in (OPENS, ("--identity", "kek"), ("--identity", "passphrase:words"), ("--keyring", "eu/acme/files")):
        assert host.ok("decrypt", "data.sk", *identity).raw == DATA
    assert {entry["wrapper"] for entry in host.ok("inspect", "--json", "data.sk").json["recipients"]} == {
        "x509-hpke-p256", "local", "passphrase", "keyring",
    }  # fmt: skip


def test_a_keyring_as_the_only_recipient(console: Console) -> None:
    """With --sealed a file is sealed to keyrings, also several; without, a value is encrypted under one."""
    console.ok("keys", "create", "eu/acme/other")
    console.write("data", DATA)
    rings = ("--keyring", "eu/acme/invoices", "--keyring", "eu/acme/other")
    console.ok("encrypt", "data", "--sealed", *rings, "-o", "data.sk")
    for ring in ("eu/acme/invoices", "eu/acme/other"):
        assert console.ok("decrypt", "data.sk", "--keyring", ring).raw == DATA
    assert console.ok("encrypt", "data", *rings[:2]).raw.startswith(b"sk1.")
    assert console("encrypt", "data", *rings).code == 2
    assert console("encrypt", "data", "--sealed").code == 2


def test_decrypt_tells_sealed_data_from_records(console: Console) -> None:
    """The first bytes decide, of a file and of standard input: the same options open both."""
    ring = ("--keyring", "eu/acme/invoices", "--context", "id=1")
    for made in (console.ok("encrypt", *ring, stdin=b"x").raw, console.ok("encrypt", "--sealed", *ring, stdin=b"x").raw):
        console.write("made", made)
        for typed, stdin in [((), made), (("-",), made), (("made",), b"")]:
            assert console.ok("decrypt", *typed, *ring, stdin=stdin).raw == b"x"
    record = console.ok("encrypt", *ring, stdin=b"x").raw
    assert console("decrypt", *ring, "--range", "0-0", stdin=record).code == 1


@pytest.mark.measured
def test_a_passphrase_is_asked_for_twice_and_not_shown(host: Console) -> None:
    """Sealing to a passphrase asks for it twice on the terminal, and does not show what is typed."""
    terminal = Terminal(host, "encrypt", "data", "--to-passphrase", "-o", "data.sk")
    terminal.wait_for(b": ")
    terminal.type(f"{SECRET}\n".encode())
    terminal.wait_for(b"epeat for confirmation: ")
    terminal.type(f"{SECRET}\n".encode())
    assert terminal.end() == 0, terminal.plain
    host.write("words", SECRET + "\n")
    assert host.ok("decrypt", "data.sk", "--identity", "passphrase:words").raw == DATA
    assert SECRET not in terminal.plain


def test_the_context_belongs_to_it(host: Console) -> None:
    """What was sealed with a context opens with an equal one alone."""
    seal(host, "--context", "day=2026-11-25", "--context", "of=app")
    assert host.ok("decrypt", "data.sk", *OPENS, "--context", "of=app", "--context", "day=2026-11-25").raw == DATA
    for other in ([], ["--context", "day=2026-11-25"], ["--context", "day=2026-11-25", "--context", "of=App"]):
        wrong = host("decrypt", "data.sk", *OPENS, *other, "-o", "out")
        assert (wrong.code, wrong.err.count("\n")) == (3, 1)
        assert "out" not in host.names()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 1_048_576, 1_048_577])
@pytest.mark.parametrize("piped", [True, False])
def test_sizes(size: int, piped: bool, host: Console) -> None:
    """Data of every size comes back, through pipes and through files."""
    data = os.urandom(size)
    if piped:
        sealed = host.ok("encrypt", "--to", "host.pem", stdin=data).raw
        assert host.ok("decrypt", *OPENS, stdin=sealed).raw == data
        return
    host.write("data", data)
    host.ok("decrypt", seal(host), *OPENS, "-o", "out")
    assert host.read("out") == data


def test_dashes_are_standard_input_and_output(host: Console) -> None:
    """``-`` as FILE and behind -o means the same as leaving it out."""
    sealed = host.ok("encrypt", "-", "--to", "host.pem", "-o", "-", stdin=DATA).raw
    assert sealed.startswith(MAGIC)
    assert host.ok("decrypt", "-", *OPENS, "-o", "-", stdin=sealed).raw == DATA
    assert "-" not in host.names()


def test_a_pipe_has_one_header_and_a_file_two(host: Console) -> None:
    """Only what is written to a file by its name can be rewrapped in place."""
    assert host.ok("inspect", "--json", seal(host)).json["slot_size"] == 4096
    piped = host.ok("encrypt", "data", "--to", "host.pem").raw
    assert host.ok("inspect", "--json", stdin=piped).json["slot_size"] is None


def test_a_message_made_in_code_opens(host: Console) -> None:
    """What `Envelope.encrypt` makes is opened as well, from a file and from standard input, and in part."""
    message = Envelope(CertificateWrapper.from_files(cert="host.pem")).encrypt(DATA, context={"order": "7"})
    opens = (*OPENS, "--context", "order=7")
    assert host.ok("decrypt", host.write("message.sk", message), *opens).raw == DATA
    assert host.ok("decrypt", *opens, stdin=message).raw == DATA
    assert host.ok("decrypt", "message.sk", *opens, "--range", "1-3").raw == DATA[1:4]
    assert host("decrypt", *OPENS, stdin=message).code == 3


# Parts.


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("0-0", slice(0, 1)),
        ("0-", slice(0, None)),
        ("16380-16390", slice(16_380, 16_391)),
        ("100-16383", slice(100, 16_384)),
        ("16384-32767", slice(16_384, 32_768)),
        ("51199-51199", slice(51_199, None)),
        ("51100-99999", slice(51_100, None)),
        ("51200-", slice(0, 0)),
        ("00007-8", slice(7, 9)),
    ],
)
def test_a_range(part: str, expected: slice, host: Console) -> None:
    """Both ends are included, as in HTTP; an end behind the data is cut."""
    assert host.ok("decrypt", seal(host), *OPENS, "--range", part).raw == DATA[expected]
    host.ok("decrypt", "data.sk", *OPENS, "--range", part, "-o", "part")
    assert host.read("part") == DATA[expected]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        *((part, "a range is A-B or A-, in bytes from 0") for part in ("", "-", "5", "-5", "9-8", "a-b", "1-2-3", "1.5-2", " 1-2", "+1-2")),
        ("51201-", "the range begins at 51201, behind the end of the data at 51200"),
        ("60000-70000", "behind the end"),
    ],
)
def test_a_wrong_range_is_wrong_usage(part: str, said: str, host: Console) -> None:
    """Exit code 2, what a range looks like, and nothing written."""
    done = host("decrypt", seal(host), *OPENS, "--range", part, "-o", "out")
    assert (done.code, done.raw) == (2, b"")
    assert said in done.err
    assert "out" not in host.names()


def test_a_range_needs_a_file(host: Console) -> None:
    """Of a pipe or a directory, and of a value, a range is refused."""
    seal(host)
    pipe = host.folder / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", "data.sk", "pipe"], cwd=host.folder):
        done = host("decrypt", "pipe", *OPENS, "--range", "0-1")
    assert (done.code, "--range goes with a file" in done.err) == (2, True)
    (host.folder / "tree").mkdir()
    assert "--range goes with one file" in host("decrypt", "tree", *OPENS, "--range", "0-1", "-o", "out").err
    assert host("decrypt", "data", *OPENS, "--range", "0-1").code == 1


def test_a_damaged_chunk_keeps_no_other_from_being_read(host: Console) -> None:
    """A range that does not touch the damage is read; one that does is refused."""
    seal(host)
    damaged = bytearray(host.read("data.sk"))
    damaged[2 * 4096 + 56 + 16_400 + 5] ^= 1
    host.write("data.sk", damaged)
    assert host.ok("decrypt", "data.sk", *OPENS, "--range", "0-16383").raw == DATA[:16_384]
    assert host("decrypt", "data.sk", *OPENS, "--range", "16384-16384").code == 3


# What is written, and what is not.


def test_results_are_for_their_owner_alone(host: Console) -> None:
    """Both results have mode 0600, whatever the source had, and replace what was there."""
    (host.folder / "data").chmod(0o644)
    host.write("data.sk", b"old", 0o666)
    host.write("out", b"old", 0o666)
    host.ok("decrypt", seal(host), *OPENS, "-o", "out")
    assert {name: (host.folder / name).stat().st_mode & 0o777 for name in ("data.sk", "out")} == {"data.sk": 0o600, "out": 0o600}
    assert host.read("out") == DATA


def test_mode_and_time_are_kept_on_request(host: Console) -> None:
    """With --preserve both commands give the result the mode and the time of change of their source."""
    source = host.folder / "data"
    source.chmod(0o640)
    os.utime(source, ns=(1_000_000_000, 1_234_567_890_123_456_789))
    seal(host, "--preserve")
    host.ok("decrypt", "data.sk", *OPENS, "--preserve", "-o", "out")
    for name in ("data.sk", "out"):
        facts = (host.folder / name).stat()
        assert (facts.st_mode & 0o777, facts.st_mtime_ns) == (0o640, 1_234_567_890_123_456_789)


@pytest.mark.parametrize("output", ["null", "fifo", "folder"])
def test_what_is_no_file_is_not_replaced(output: str, host: Console) -> None:
    """A device, a pipe and a directory behind -o are refused before anything is done."""
    # Through a link: were the promise broken, the link would be replaced, and not the machine's own /dev/null.
    (host.folder / "null").symlink_to("/dev/null")
    os.mkfifo(host.folder / "fifo")
    (host.folder / "folder").mkdir()
    for typed in (["encrypt", "data", "--to", "host.pem"], ["decrypt", seal(host), *OPENS]):
        done = host(*typed, "-o", output)
        assert (done.code, f"{output} is there, and is no regular file" in done.err) == (2, True)
    assert (host.folder / "null").is_char_device()


@pytest.mark.parametrize("damage", ["nothing", "half a header", "half", "a chunk", "a byte", "one more", "a flip", "the first slot's mac"])
def test_damaged_input_leaves_nothing(damage: str, host: Console) -> None:
    """Exit code 1 or 3, one line, and no file; a file that was there stays. One damaged header of two does no harm."""
    seal(host)
    sealed = host.read("data.sk")
    host.write("out", b"as before")
    cut = {"nothing": 0, "half a header": 100, "half": len(sealed) // 2, "a chunk": len(sealed) - 2064, "a byte": len(sealed) - 1}
    changed = bytearray(sealed[: cut.get(damage, len(sealed))])
    if damage == "one more":
        changed += b"\0"
    if damage == "a flip":
        changed[-20_000] ^= 4
    if damage == "the first slot's mac":
        changed[50] ^= 1
        assert host.ok("decrypt", host.write("data.sk", changed), *OPENS).raw == DATA
        return
    for source in ((host.write("data.sk", changed),), ()):
        done = host("decrypt", *source, *OPENS, "-o", "out", stdin=bytes(changed))
        assert done.code == (1 if damage in {"nothing", "half a header"} else 3)
        assert (done.raw, done.err.count("\n")) == (b"", 1)
        assert host.read("out") == b"as before"
    assert not [name for name in host.names() if name.endswith(".tmp")]


def test_what_was_read_before_the_damage_is_a_true_beginning(host: Console) -> None:
    """To standard output, verified chunks may go before a failure; nothing else does."""
    sealed = bytearray(host.read(seal(host)))
    sealed[-100] ^= 1
    done = host("decrypt", *OPENS, stdin=bytes(sealed))
    assert done.code == 3
    assert DATA.startswith(done.raw)


def run_limited(host: Console, *arguments: str, blocks: int) -> subprocess.CompletedProcess[bytes]:
    """Run a process that can write only so many blocks of 1,024 bytes to a file, as on a full disk."""
    line = f'ulimit -f {blocks}; exec "$0" -m securekit "$@"'
    return subprocess.run(["bash", "-c", line, sys.executable, *arguments], cwd=host.folder, capture_output=True, check=False)


def test_a_full_disk_leaves_nothing(host: Console) -> None:
    """When the disk takes no more, both commands say so with exit code 1, and leave what was there."""
    host.write("data", os.urandom(300_000))
    seal(host)
    before = host.names()
    for typed in (["encrypt", "data", "--to", "host.pem", "-o", "out"], ["decrypt", "data.sk", *OPENS, "-o", "out"]):
        done = run_limited(host, *typed, blocks=100)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"File too large" in done.stderr
        assert host.names() == before
    for typed in (["encrypt", "data", "--to", "host.pem"], ["decrypt", "data.sk", *OPENS]):
        with Path("/dev/full").open("wb") as full:
            refused = subprocess.run(
                [sys.executable, "-m", "securekit", *typed], cwd=host.folder, stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert refused.returncode == 1
        assert refused.stderr == b"securekit: error: input or output: No space left on device\n"


@pytest.mark.parametrize("typed", [["encrypt", "--to", "host.pem"], ["decrypt", *OPENS]])
def test_a_killed_run_leaves_nothing(typed: list[str], host: Console) -> None:
    """A process that is killed in the middle leaves no file, and no temporary one."""
    stdin = host.read("data") if typed[0] == "encrypt" else host.ok("encrypt", "data", "--to", "host.pem").raw
    before = host.names()
    with subprocess.Popen([sys.executable, "-m", "securekit", *typed, "-o", "out"], cwd=host.folder, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(stdin[:40_000])
        process.stdin.flush()
        descriptors = Path(f"/proc/{process.pid}/fd")
        while not any("(deleted)" in str(entry.readlink()) for entry in descriptors.iterdir() if entry.is_symlink()):
            assert process.poll() is None
        process.kill()
        process.stdin.close()
    assert host.names() == before


CALLS = ["write", "fsync", "flock", "link,linkat", "rename,renameat,renameat2"]


@pytest.mark.repetitive
@pytest.mark.parametrize("verb", ["encrypt", pytest.param("decrypt", marks=pytest.mark.slow)])
def test_a_run_killed_at_any_system_call_is_complete_or_nothing(verb: str, host: Console, count: Count) -> None:
    """SIGKILL at every call that writes: the result is there as a whole or not at all, and the next run leaves nothing else."""
    typed = {"encrypt": ("encrypt", "data", "--to", "host.pem"), "decrypt": ("decrypt", seal(host), *OPENS)}[verb]
    before = host.names()
    killed = 0
    for calls in CALLS:
        for number in itertools.count(1):
            traced = f"strace -f -qq -o /dev/null -e trace={calls} -e inject={calls}:signal=KILL:when={number}".split()
            program = [sys.executable, "-B", "-m", "securekit", *typed, "-o", "out"]
            done = subprocess.run([*traced, *program], cwd=host.folder, check=False)
            assert host.names() - before <= {"out", ".out.tmp"}
            if "out" in host.names():
                result = host.read("out") if verb == "decrypt" else host.ok("decrypt", "out", *OPENS).raw
                assert result == DATA
            host.ok(*typed, "-o", "out")
            assert host.names() == before | {"out"}
            (host.folder / "out").unlink()
            if done.returncode == 0:
                break
            killed += 1
    assert killed >= len(CALLS)
    count(f"system calls of {verb} killed at", killed)


# Mistakes.


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["encrypt", "data", "--to", "host.key"], 2, "host.key is only a private key; a certificate or a public key is needed here"),
        (["encrypt", "data", "--to", "pq.key"], 2, "pq.key is only a private key"),
        (["decrypt", "data.sk", "--identity", "host.pem"], 2, "host.pem is only a public key; a private key is needed here"),
        (["decrypt", "data.sk", "--identity", "pq.pub"], 2, "pq.pub is only a public key"),
        (["encrypt", "data", "--to", "data"], 2, "data is no key"),
        (["encrypt", "data", "--to", "missing"], 2, "missing: No such file or directory"),
        (["encrypt", "data", "--to", "nonsense:x"], 2, "'nonsense:x' names no wrapper"),
        (["encrypt", "data", "--to", "host.pem", "--to", "host.pem"], 2, "two of the wrappers name the same KEK"),
        (["encrypt", "data", "--to", "host.pem", "--column", "iban"], 2, "--column goes with values under a keyring"),
        (["encrypt", "data", "--to", "host.pem", "--to", "pq.pub"], 2, "(--allow-classical)"),
        (["encrypt", "data", "--to", "host.pem", "--workers", "0"], 2, "'--workers'"),
        (["encrypt", "data"], 2, "or, for files, recipients with --to"),
        (["encrypt", "missing", "--to", "host.pem"], 2, "'missing' does not exist"),
        (["decrypt", "data.sk"], 2, "--identity"),
        (["decrypt", "data.sk", "--column", "x", "--identity", "host.key"], 2, "--column goes with values"),
        (["decrypt", "data", "--identity", "host.key"], 1, "not a sealed message"),
        (["decrypt", "data.sk", "--identity", "other.key"], 1, "(--identity or --keyring)"),
        (["encrypt", "data", "--to", "host.pem", "-o", "no/where"], 1, "No such file or directory"),
    ],
)
def test_mistakes(typed: list[str], code: int, said: str, host: Console) -> None:
    """What is wrong is said in one line, nothing is printed, and no file is made."""
    host.ok("identity", "new", "--pq", "--key", "pq.key", "--public", "pq.pub")
    seal(host)
    before = host.names()
    done = host(*typed)
    assert (done.code, done.raw) == (code, b"")
    assert said in done.err.splitlines()[0]
    assert host.names() == before


def test_post_quantum_beside_classical_only_when_told(host: Console) -> None:
    """With --allow-classical both are recipients; opening never needs to be told."""
    host.ok("identity", "new", "--pq", "--key", "pq.key", "--public", "pq.pub")
    seal(host, "--to", "pq.pub", "--allow-classical")
    for identity in ("host.key", "pq.key"):
        assert host.ok("decrypt", "data.sk", "--identity", identity).raw == DATA
    assert host.ok("decrypt", "data.sk", "--identity", "host.key", "--identity", "pq.key").raw == DATA


def test_no_secret_is_shown(host: Console) -> None:
    """Neither plaintext, nor passphrase, nor key appears in what fails or succeeds, nor among a process' arguments."""
    host.write("words", SECRET + "\n")
    host.write("data", "canary-plain-51d0 " * 2000)
    seal(host, "--to", "passphrase:words")
    said = [
        host("decrypt", "data.sk", "--identity", "passphrase:words", "--context", "a=b"),
        host("decrypt", "data.sk", "--identity", "other.key"),
        host("decrypt", "data", "--identity", "host.key"),
        host("encrypt", "data", "--to", "words"),
        host("encrypt", "data", "--to", "host.pem", "-o", "no/where"),
        host.ok("inspect", "data.sk"),
        host.ok("encrypt", "--to", "passphrase:words", stdin=host.read("data")),
    ]
    for done in said:
        for secret in (SECRET.encode(), b"canary-plain", host.read("host.key").splitlines()[1]):
            assert secret not in done.raw + done.err.encode()
