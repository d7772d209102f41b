# SPDX-License-Identifier: Apache-2.0
"""Stored passwords on the command line: hashed, verified, looked at and imported, with no secret in an argument or a message."""

from __future__ import annotations

import hashlib
import json

import pytest

from securekit.passwords import PasswordHasher
from securekit.passwords._onion import wrap
from securekit.testing import fast_passwords
from tests.cli.conftest import Console
from tests.cli.terminal import Terminal
from tests.little_memory import little_memory

PASSWORD = "correct horse battery staple"
RING = "eu/acme/passwords"
FAST = PasswordHasher(fast_passwords)
DJANGO = "pbkdf2_sha256$260000$5iTAMm2qWFuBsa$oU1iHkrqezcUe1DPM01GCYBASfTzaxLj5SJIipyXa40="  # of "correct horse"
OWASP = ("--profile", "owasp")
NOWHERE: dict[str, str | None] = {"SECUREKIT_STORE": None, "SECUREKIT_WRAP": None}


@pytest.fixture
def peppered(empty: Console) -> Console:
    """A console with a store and the keyring of a pepper."""
    empty.ok("keys", "new-kek", "root.key")
    empty.ok("keys", "create", RING)
    return empty


def md5(password: str, salt: str = "") -> str:
    return hashlib.md5((salt + password).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------ hash and verify


def test_a_password_is_hashed_and_verified(empty: Console) -> None:
    """What is printed is what to store; the right password is 0, another one 3. No store is needed."""
    stored = empty.ok("password", "hash", "--stdin", *OWASP, stdin=PASSWORD + "\n", env=NOWHERE)
    empty.write("stored", stored.raw)

    right = empty.ok("password", "verify", "stored", "--stdin", *OWASP, stdin=PASSWORD, env=NOWHERE)
    wrong = empty("password", "verify", "stored", "--stdin", *OWASP, stdin=PASSWORD + " ", env=NOWHERE)

    assert stored.out.startswith("$securekit$v=1,n=nfkc$argon2id$v=19$m=19456,t=2,p=1$")
    assert (right.raw, right.err) == (b"", "the password is the one\n")
    assert (wrong.code, wrong.raw) == (3, b"")
    assert wrong.err.startswith("securekit: error: ")
    assert len(wrong.err.splitlines()) == 1


@pytest.mark.parametrize("profile", ["modern", "policy", "fips", "bcrypt"])
def test_each_profile_has_its_name(profile: str, empty: Console) -> None:
    """And a hash of it is as good as it says."""
    empty.write("stored", empty.ok("password", "hash", "--stdin", "--profile", profile, stdin=PASSWORD).raw)
    empty.ok("password", "audit", "stored", "--profile", profile)


def test_the_first_line_of_the_input_is_the_password(empty: Console) -> None:
    """Ended by either line end; the rest is not looked at, and spaces belong to it."""
    empty.write("stored", FAST.hash(" a b "))
    for typed in (" a b ", " a b \n", " a b \r\n", " a b \nmore\n"):
        empty.ok("password", "verify", "stored", "--stdin", *OWASP, stdin=typed)


def test_a_stronger_hash_is_printed_when_asked_for(empty: Console) -> None:
    """A hash of Django's verifies and becomes one of ours; without the option it is only said that there is one."""
    empty.write("stored", DJANGO + "\n")
    typed = ("password", "verify", "stored", "--stdin", *OWASP)

    told = empty.ok(*typed, stdin="correct horse")
    printed = empty.ok(*typed, "--new-hash", stdin="correct horse")
    empty.write("stored", printed.raw)
    again = empty.ok(*typed, "--new-hash", stdin="correct horse")

    assert (told.raw, told.err.splitlines()[1]) == (b"", "there is a stronger hash to store: --new-hash prints it")
    assert printed.out.startswith("$securekit$")
    assert (again.raw, again.err) == (b"", "the password is the one\n")


@pytest.mark.parametrize("stored", ["", "garbage", PASSWORD, "$2x$10$" + "a" * 53, "\n\n", "sk1.AAAA"])
def test_what_is_no_hash_fails_as_another_password_does(stored: str, empty: Console) -> None:
    """With the same line and the same code."""
    empty.write("good", FAST.hash("x"))
    empty.write("stored", stored)

    done = empty("password", "verify", "stored", "--stdin", *OWASP, stdin=PASSWORD)

    assert (done.code, done.err) == (3, empty("password", "verify", "good", "--stdin", *OWASP, stdin=PASSWORD).err)


def test_too_little_memory_is_no_wrong_password(empty: Console) -> None:
    """Exit code 1, and the advice to try again."""
    empty.write("stored", "$argon2id$v=19$m=409600,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
    with little_memory(200 << 20):
        done = empty("password", "verify", "stored", "--stdin", *OWASP, stdin=PASSWORD)

    assert (done.code, "try again" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("password", "said"), [("", "is not empty"), ("short", "at least 15"), ("passwordpassword", "in a list"), ("z" * 20, "again")]
)
def test_a_password_that_cannot_be_accepted(password: str, said: str, empty: Console) -> None:
    """The reason is for whoever chooses it: exit code 1, and the password is not in it."""
    done = empty("password", "hash", "--stdin", stdin=password)

    assert (done.code, done.raw) == (1, b"")
    assert not password or password not in done.err
    assert said in done.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["hash", "--stdin", "--profile", "strong"], "there is no profile 'strong'; there are modern"),
        (["hash"], "there is no terminal to ask for the password on: add --stdin"),
        (["verify", "table.csv"], "add --stdin"),
        (["hash", "--pepper", RING], "name the id with --user"),
        (["verify", "table.csv", "--stdin", "--pepper", RING], "name the id with --user"),
        (["hash", "--stdin", "secret"], "unexpected extra argument"),
        (["verify", "missing"], "'missing' does not exist"),
        (["verify"], "Missing argument"),
        (["identify", "table.csv", "--profile", "strong"], "there is no profile 'strong'"),
        (["audit", "table.csv", "--column", "hsh"], "table.csv has no column 'hsh'; it has id, hash"),
        (["audit", "table.csv", "--column", "hash", "--user-column", "user"], "no column 'user'"),
        (["audit", "table.csv", "--user-column", "id"], "--column and --user-column"),
        (["audit", "table.csv", "--pepper", RING], "--column and --user-column"),
        (["audit", "table.csv", "--column", "hash", "--pepper", RING], "--column and --user-column"),
        (["calibrate", "--target", "fast"], "a time is such as 250ms or 1s, not 'fast'"),
        (["calibrate", "--target", "xms"], "a time is such as 250ms or 1s, not 'xms'"),
        (["calibrate", "--target", "250"], "a time is such as 250ms or 1s, not '250'"),
        (["calibrate", "--target", "11s"], "a target is 0.01 to 10 seconds, not 11.0"),
        (["calibrate", "--max-memory", "16"], "there is no scheme 'argon2id' that fits 16 MiB"),
        (["import", "table.csv", "--as", "md6-hex", "--column", "hash", "-o", "new"], "there is no interpretation 'md6-hex'"),
        (["import", "table.csv", "--as", "md5-hex", "--column", "hsh", "-o", "new"], "no column 'hsh'"),
        (["import", "table.csv", "--as", "md5-hex", "--column", "hash", "--salt", "id", "-o", "new"], "md5-hex has no salt"),
        (["import", "table.csv", "--as", "md5-salt-password", "--column", "hash", "-o", "new"], "name its column with --salt"),
        (["import", "table.csv", "--as", "md5-salt-password", "--column", "hash", "--salt", "x", "-o", "new"], "no column 'x'"),
    ],
)
def test_wrong_usage_is_2(typed: list[str], said: str, peppered: Console) -> None:
    """With a message that says what would be right, and no new file."""
    peppered.write("table.csv", "id,hash\n1,x\n")
    done = peppered("password", *typed, stdin=PASSWORD)

    assert (done.code, done.raw) == (2, b"")
    assert said in done.err
    assert "new" not in peppered.names()


def test_bytes_that_are_no_text_are_no_password(empty: Console) -> None:
    """Wrong usage, and the bytes are not shown."""
    done = empty("password", "hash", "--stdin", stdin=b"hunter2\xff\n")
    assert (done.code, done.raw) == (2, b"")
    assert "is not UTF-8" in done.err
    assert "hunter2" not in done.err


@pytest.mark.measured
def test_a_new_password_is_asked_for_twice_and_not_shown(empty: Console) -> None:
    """At the terminal, which does not echo it; the hash is the only result."""
    terminal = Terminal(empty, "password", "hash", *OWASP)
    terminal.wait_for(b"Password: ")
    terminal.type(PASSWORD.encode() + b"\n")
    terminal.wait_for(b"Repeat for confirmation: ")
    terminal.type(PASSWORD.encode() + b"\n")

    assert terminal.end() == 0
    assert PASSWORD not in terminal.plain
    stored = terminal.plain.split()[-1]
    assert PasswordHasher("owasp").verify(PASSWORD, hash=stored).new_hash is None


# ------------------------------------------------------------------------------------------------ pepper


def test_a_peppered_hash_verifies_with_its_keyring_and_its_user(peppered: Console) -> None:
    """Another user's row is another password; without the keyring, its key or its user it is said what is missing."""
    pepper = ("--pepper", RING, "--user", "7")
    peppered.write("stored", peppered.ok("password", "hash", "--stdin", *OWASP, *pepper, stdin=PASSWORD).raw)
    typed = ("password", "verify", "stored", "--stdin", *OWASP)

    assert peppered.read("stored").startswith(b"sk1.")
    assert peppered.ok(*typed, *pepper, stdin=PASSWORD).err == "the password is the one\n"
    assert peppered(*typed, *pepper, stdin="another").code == 3
    assert peppered(*typed, "--pepper", RING, "--user", "8", stdin=PASSWORD).code == 3
    assert peppered(*typed, "--pepper", RING, stdin=PASSWORD).code == 2
    bare = peppered(*typed, stdin=PASSWORD)
    assert (bare.code, "give it the keyring" in bare.err) == (1, True)
    lost = peppered(*typed, "--pepper", "eu/nobody", "--user", "7", stdin=PASSWORD)
    assert (lost.code, PASSWORD in lost.err) == (1, False)


def test_a_hash_is_put_under_the_pepper_and_its_present_key(peppered: Console) -> None:
    """At a login: one without a pepper gets it, and one under an old key moves to the primary."""
    peppered.write("stored", FAST.hash(PASSWORD))
    typed = ("password", "verify", "stored", "--stdin", "--new-hash", *OWASP, "--pepper", RING, "--user", "7")
    first = peppered.ok(*typed, stdin=PASSWORD)
    peppered.write("stored", first.raw)
    unchanged = peppered.ok(*typed, stdin=PASSWORD)
    peppered.ok("keys", "rotate", RING)
    moved = peppered.ok(*typed, stdin=PASSWORD)

    assert first.out.startswith("sk1.")
    assert unchanged.raw == b""
    assert moved.out.startswith("sk1.")
    assert moved.out != first.out


# ------------------------------------------------------------------------------------------------ identify and audit


def test_each_line_is_identified(empty: Console) -> None:
    """From a file or standard input, as a table or as JSON; empty lines are none, and what is unknown fails nothing."""
    lines = f"{DJANGO}\n\n{FAST.hash('x')}\nhunter2\n".encode() + b"\xff\n"
    empty.write("hashes", lines)

    table = [line.split("\t") for line in empty.ok("password", "identify", "hashes", env=NOWHERE).out.splitlines()]
    told = empty.ok("password", "identify", "--json", stdin=lines, env=NOWHERE)

    assert table[0] == ["django", "pbkdf2-sha256", "iterations=260000", "256"]
    assert [row[0] for row in table] == ["django", "securekit", "unknown", "unknown"]
    assert [one["form"] for one in told.json] == ["django", "securekit", "unknown", "unknown"]
    assert [one["below"] for one in told.json] == [True] * 4
    assert "hunter2" not in told.out


def test_an_audit_counts_what_is_below(empty: Console) -> None:
    """By groups, as a table or as JSON, of lines or a column: exit code 1 if any hash is below the profile, else 0."""
    good = PasswordHasher("owasp").hash(PASSWORD)
    empty.write("users.csv", f'id,hash\n1,"{good}"\n2,"{good}"\n3,{DJANGO}\n')
    empty.write("users.jsonl", "".join(json.dumps(row) + "\n" for row in ({"hash": good}, {"hash": None}, {"id": 3})))
    empty.write("lines", good)

    table = empty("password", "audit", "users.csv", "--column", "hash", *OWASP)
    told = empty("password", "audit", "users.jsonl", "--column", "hash", "--json", *OWASP)
    fine = empty.ok("password", "audit", "lines", *OWASP)

    assert table.code == 1
    assert [line.split("\t")[:3] for line in table.out.splitlines()] == [["2", "securekit", "argon2id"], ["1", "django", "pbkdf2-sha256"]]
    assert table.err == "1 of 3 are below the profile owasp\n"
    assert (told.code, told.err) == (0, "")  # who has no password has no hash
    assert (told.json["count"], told.json["below"]) == (1, 0)
    assert [(group["form"], group["count"]) for group in told.json["groups"]] == [("securekit", 1)]
    assert fine.err == "0 of 1 are below the profile owasp\n"
    assert good not in table.out + told.out


def test_an_audit_looks_below_the_pepper(peppered: Console) -> None:
    """With the keyring and the users' column; without, it says that there is a pepper."""
    stored = peppered.ok("password", "hash", "--stdin", *OWASP, "--pepper", RING, "--user", "7", stdin=PASSWORD).out.strip()
    peppered.write("users.csv", f"id,hash\n7,{stored}\n")
    typed = ("password", "audit", "users.csv", "--column", "hash", "--json", *OWASP)

    [below] = peppered.ok(*typed, "--user-column", "id", "--pepper", RING).json["groups"]
    [outside] = peppered.ok(*typed).json["groups"]

    assert (below["form"], below["scheme"]) == ("securekit, peppered", "argon2id")
    assert outside["form"] == "peppered"
    assert peppered(*typed, "--user-column", "hash", "--pepper", RING).code == 1


# ------------------------------------------------------------------------------------------------ import


def test_a_table_of_digests_is_imported(empty: Console) -> None:
    """Every other column stays; the users' passwords verify afterwards, and the digests do not."""
    empty.write("old.csv", f'id,digest,note\n1,{md5("one")},"a, b"\n2,{md5("two").upper()},\n')
    done = empty.ok("password", "import", "old.csv", "--as", "md5-hex", "--column", "digest", "-o", "new.csv", "--workers", "1", *OWASP)
    header, *rows = empty.read("new.csv").decode().splitlines()
    empty.write("stored", rows[1].split('"')[1])
    typed = ("password", "verify", "stored", "--stdin", *OWASP)

    assert (done.raw, done.err) == (b"", "")
    assert header == "id,digest,note"
    assert rows[0].startswith("1,")
    assert rows[0].endswith(',"a, b"')
    assert empty.ok(*typed, "--new-hash", stdin="two").out.startswith("$securekit$v=1,n=nfkc$argon2id")
    assert empty(*typed, stdin=md5("two")).code == 3
    assert md5("two") not in empty.read("new.csv").decode().lower()


def test_salts_stand_in_a_column_of_their_own(empty: Console) -> None:
    """Of a table of JSON lines as well, where a salt may be a number."""
    empty.write("old.jsonl", json.dumps({"digest": md5("one", "77"), "salt": 77}) + "\n")
    typed = ("--as", "md5-salt-password", "--column", "digest", "--salt", "salt", "-o", "new.jsonl")

    empty.ok("password", "import", "old.jsonl", *typed, *OWASP)

    row = json.loads(empty.read("new.jsonl"))
    empty.write("stored", row["digest"])
    assert row["salt"] == 77
    empty.ok("password", "verify", "stored", "--stdin", *OWASP, stdin="one")


def test_rows_that_are_no_digests_are_named_and_stay(empty: Console) -> None:
    """By their number, without what stands there; the others are imported. Exit code 1."""
    empty.write("old.csv", f"digest\n{md5('one')}\nhunter2\n{md5('three')}x\n")

    done = empty("password", "import", "old.csv", "--as", "md5-hex", "--column", "digest", "-o", "new.csv", *OWASP)

    assert done.code == 1
    assert done.err.splitlines() == [
        "securekit: error: old.csv, row 2: a digest of md5-hex has 32 hexadecimal digits",
        "securekit: error: old.csv, row 3: a digest of md5-hex has 32 hexadecimal digits",
        "securekit: error: 2 rows were not imported, and are as they were",
    ]
    assert [line[:11] for line in empty.read("new.csv").decode().splitlines()] == ["digest", '"$securekit', "hunter2", md5("three")[:11]]


def test_a_null_is_neither_a_digest_nor_a_salt(empty: Console) -> None:
    """Such a row is named, and stays."""
    rows = [{"digest": None, "salt": "s"}, {"digest": md5("one", "None"), "salt": None}]
    empty.write("old.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    done = empty("password", "import", "old.jsonl", "--as", "md5-salt-password", "--column", "digest", "--salt", "salt", "-o", "new.jsonl")

    assert [line.partition(", ")[2][:5] for line in done.err.splitlines()[:2]] == ["row 1", "row 2"]
    assert empty.read("new.jsonl") == empty.read("old.jsonl")


def test_rows_are_counted_from_the_beginning(empty: Console) -> None:
    """Beyond the rows that are read at once."""
    empty.write("old.jsonl", "{}\n" * 1001)
    done = empty("password", "import", "old.jsonl", "--as", "md5-hex", "--column", "digest", "-o", "new.jsonl")
    assert "old.jsonl, row 1001: " in done.err.splitlines()[-2]
    assert empty.read("new.jsonl") == b"{}\n" * 1001


# ------------------------------------------------------------------------------------------------ calibrate


def test_this_machine_is_measured(empty: Console) -> None:
    """Parameters, time, memory and logins a second, for people and for machines."""
    typed = ("password", "calibrate", "--target", "10ms", "--scheme", "argon2id", "--max-memory", "19")

    lines = empty.ok(*typed, env=NOWHERE).out.splitlines()
    told = empty.ok(*typed, "--json", env=NOWHERE).json

    assert lines[0] == "argon2id: m=19456, t=2, p=1"
    assert lines[1].endswith(" ms and 19 MiB for one")
    assert " logins a second, " in lines[2]
    assert (told["parameters"], told["memory"]) == ({"m": 19456, "t": 2, "p": 1}, 19)
    assert told["seconds"] > 0
    assert told["logins_per_second"] > 0


def test_what_was_imported_is_known_by_its_layer(empty: Console) -> None:
    """Until the next login."""
    empty.write("stored", wrap(md5("x"), "md5-hex", profile=fast_passwords))
    assert empty.ok("password", "identify", "stored").out.split("\t")[1] == "argon2id over md5-hex"
