# SPDX-License-Identifier: Apache-2.0
"""Single values and whole documents, as an operator types it: init, encrypt, set, unset, get, list, decrypt."""

from __future__ import annotations

from pathlib import Path

import pytest

from securekit.config import Document
from tests.cli.config_desk import SECRETS, Desk
from tests.cli.conftest import Console
from tests.cli.terminal import Terminal
from tests.config.parts import CLEAR, FILES, FORMATS, PASSWORD

# ------------------------------------------------------------------------------------------------ every format


@pytest.mark.parametrize("form", FORMATS)
def test_encrypting_leaves_everything_else(form: str, desk: Desk) -> None:
    """The paths go to stdout; only encrypted values and the metadata differ; no secret is left in clear anywhere."""
    before = (FILES / f"production.{form}").read_text().splitlines()
    file = desk.encrypted(form)

    text = desk.console.read(file).decode()
    secrets = [line for line in before if line not in text.splitlines()]
    assert text.count("ENC[sk1,") == 11
    assert len(secrets) <= 16
    assert not any(secret in text for secret in ("Pa55", "Hunter2", "fake-cache", "fake-redis", "fake-smtp", "fake-token", "whsec"))
    assert (desk.folder / file).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("value", ["plain", "quo\"te\\ #;: '", "grüße, 😀", "", "two\nlines\n", "ENC", "null", "007", "${HOME}"])
def test_set_and_get(form: str, value: str, desk: Desk) -> None:
    """Who can read nothing sets any text; who can read gets it, to the byte; two lines and the metadata differ."""
    file, path = desk.encrypted(form), PASSWORD[form]
    before = desk.console.read(file).splitlines()

    desk.ok("set", file, path, "--stdin", "--keep-newline", *([] if value else ["--empty"]), stdin=value)

    assert desk.ok("get", file, path, "-n", "--identity", "host.key").raw == value.encode()
    assert len(set(before) ^ set(desk.console.read(file).splitlines())) <= 10
    assert desk.document(file).required.generation == 2


@pytest.mark.parametrize("form", FORMATS)
def test_decrypt_gives_the_clear_document(form: str, desk: Desk) -> None:
    """It has the values of the clear document, and no metadata; a file of it is its owner's alone."""
    file = desk.encrypted(form)

    desk.ok("decrypt", file, "--identity", "host.key", "-o", f"clear.{form}")

    clear = desk.document(f"clear.{form}")
    assert clear.block is None
    assert clear.source.tree == Document.read(FILES / f"production.{form}").source.tree
    assert (desk.folder / f"clear.{form}").stat().st_mode & 0o777 == 0o600
    assert desk.ok("decrypt", file, "--identity", "host.key").raw == desk.console.read(f"clear.{form}")


@pytest.mark.parametrize("form", FORMATS)
def test_list_shows_no_secret(form: str, desk: Desk) -> None:
    """Every path with its state and line, for people and machines, without a private key."""
    file = desk.encrypted(form)

    rows = desk.ok("list", file, "--json").json
    table = desk.ok("list", file).out.splitlines()

    assert len(rows) == len(table) >= 60
    assert [row["path"] for row in rows if row["encrypted"]].count(PASSWORD[form]) == 1
    assert sum(row["encrypted"] for row in rows) == 11
    lines = desk.console.read(file).decode().splitlines()
    assert all("ENC[" in lines[row["line"] - 1] for row in rows if row["encrypted"])
    assert f"{PASSWORD[form]}\tencrypted\t" in desk.ok("list", file).out


@pytest.mark.parametrize("form", FORMATS)
def test_unset_and_create(form: str, desk: Desk) -> None:
    """A value goes with its line, and comes back where its mapping is."""
    file, path = desk.encrypted(form), PASSWORD[form]

    desk.ok("unset", file, path)
    desk.refused(f"{file} has no {path}", "get", file, path, "--identity", "host.key")
    desk.refused(f"has no {path}", "set", file, path, "--stdin", stdin="x")
    desk.ok("set", file, path, "--stdin", "--create", stdin="back")

    assert desk.value(file, path) == "back"


@pytest.mark.parametrize("form", FORMATS)
def test_a_new_document(form: str, desk: Desk) -> None:
    """Init makes one whose patterns wait for their values."""
    file, path = f"new.{form}", "APP_PASSWORD" if form == "env" else "app.password"

    desk.ok("init", file, "--environment", "staging", "--recipient", "host.pem", "--encrypt", path)
    desk.ok("set", file, path, "--stdin", "--create", stdin="first")

    assert desk.value(file, path) == "first"
    desk.refused(f"{file} exists already", "init", file, "--environment", "staging", "--recipient", "host.pem")


# ------------------------------------------------------------------------------------------------ encrypt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "what is to be encrypted? Name it with --encrypt"),
        (["--encrypt", "a"], "where does the document belong? Name it with --environment"),
        (["--encrypt", "a", "--environment", "prod"], "who can read it? Name the certificate of each host with --recipient"),
        (["--encrypt", "a.passwort", "--environment", "prod", "--recipient", "host.pem"], "did you mean a.password?"),
        (
            ["--encrypt", "a", "--environment", "prod", "--recipient", "alice.pem"],
            "a key of this kind (Ed25519PublicKey) is not wrapped to",
        ),
    ],
)
def test_what_encrypting_takes(options: list[str], message: str, desk: Desk) -> None:
    """What is missing or wrong is said with what to do, and the file stays as it was."""
    desk.console.write("a.yaml", "a: {password: fake-x}\n")

    desk.refused(message, "encrypt", "a.yaml", *options)

    assert desk.console.read("a.yaml") == b"a: {password: fake-x}\n"


@pytest.mark.parametrize("environment", ["", "a b", "-x", "ä", "x" * 65])
def test_odd_environments(environment: str, desk: Desk) -> None:
    """An environment's name has a form; another one is wrong usage."""
    desk.console.write("a.yaml", "a: fake-x\n")

    desk.refused("environment", "encrypt", "a.yaml", "--environment", environment, "--recipient", "host.pem", "--encrypt", "a", code=2)


def test_a_dry_run_shows_no_secret_and_writes_nothing(desk: Desk) -> None:
    """Even of the first encryption, where the secrets are still in clear text."""
    desk.console.write("a.yaml", "a: fake-secret-1\nb: harmless\ntoken: fake-secret-2\n")

    arguments = ("--environment", "production", "--recipient", "host.pem", "--encrypt", "a", "--dry-run")
    done = desk.ok("encrypt", "a.yaml", *arguments)

    assert done.out == "a\n"
    assert "added secret a\n" in done.err
    assert "a.yaml: nothing was written" in done.err
    assert "warning: token: its name is that of a secret" in done.err
    assert "fake-secret" not in done.err
    assert desk.console.read("a.yaml").startswith(b"a: fake-secret-1\n")
    assert not (desk.folder / "state").exists()


def test_what_looks_like_a_secret_and_stays_in_clear(desk: Desk) -> None:
    """A pattern that misses a secret is found at once."""
    file = desk.place("env")

    done = desk.ok("encrypt", file, "--environment", "production", "--recipient", "host.pem", "--encrypt", "*PASSWORD")

    assert "securekit: warning: APP_SECRET_KEY: its name is that of a secret, and it is in clear text" in done.err


def test_more_patterns_for_an_encrypted_document(desk: Desk) -> None:
    """Patterns are added; environment and recipients are not given twice; with nothing new there is nothing to change."""
    file = desk.short("a: fake-1\nb: fake-2\n", "a")

    assert desk.ok("encrypt", file, "--encrypt", "b").out == "b\n"
    desk.refused("is encrypted already: its environment stays", "encrypt", file, "--environment", "production", "--encrypt", "b")
    desk.refused("is encrypted already", "encrypt", file, "--recipient", "host.pem")

    before = desk.console.read(file)
    assert "nothing to change" in desk.ok("encrypt", file, "--encrypt", "b").err
    assert desk.console.read(file) == before


def test_what_was_written_in_clear_by_hand_is_encrypted_with_adopt(desk: Desk) -> None:
    """A secret that somebody put in the place of a token is encrypted, and not shown."""
    file = desk.short("a: fake-1\nb: 2\n", "a")
    text = desk.console.read(file).decode()
    desk.console.write(file, "a: fake-by-hand\n" + text.split("\n", 1)[1])

    desk.refused("take it over with --adopt", "encrypt", file)
    done = desk.ok("encrypt", file, "--adopt", "--yes")

    assert "fake-by-hand" not in done.err + done.out + desk.console.read(file).decode()
    assert "added value a\n" in done.err
    assert desk.value(file, "a") == "fake-by-hand"


# ------------------------------------------------------------------------------------------------ set


def test_a_misspelt_path_is_refused(desk: Desk) -> None:
    """It names what was perhaps meant, before anybody is asked for the value."""
    file = desk.encrypted()
    before = desk.console.read(file)

    desk.refused("has no db.pasword; did you mean db.password?", "set", file, "db.pasword", "--stdin", stdin="fake-x")
    desk.refused("db is not a single value: name one below it, such as db.host", "set", file, "db", "--stdin", stdin="fake-x")
    desk.refused("no pattern of the document covers db.token", "set", file, "db.token", "--create", "--stdin", stdin="fake-x")
    desk.refused("db.password must be encrypted", "set", file, "db.password", "--clear", "--stdin", stdin="fake-x")
    desk.refused("'db[' is no path", "set", file, "db[", "--stdin", code=2)

    assert desk.console.read(file) == before


def test_protected_and_clear_values(desk: Desk) -> None:
    """--encrypt adds a pattern for one path; --clear writes one in clear text, of its type."""
    file = desk.encrypted()

    desk.ok("set", file, "db.token", "--create", "--encrypt", "--stdin", stdin="fake-x")
    desk.ok("set", file, "db.port", "--clear", "--type", "int", "--stdin", stdin="6432")

    assert "db.token" in desk.document(file).required.encrypt
    assert "\n  port: 6432\n" in desk.console.read(file).decode()
    assert desk.value(file, "db.port") == 6432


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("int", "42", "42"),
        ("float", "2.5", "2.5"),
        ("bool", "true", "true"),
        ("bool", "false", "false"),
        ("null", "", "null"),
        ("date", "2026-03-01", "2026-03-01"),
        ("str", "42", "42"),
        ("bytes", "\0x", "\0x"),
    ],
)
def test_types(kind: str, text: str, shown: str, desk: Desk) -> None:
    """A secret has a type, and is printed as programs read it."""
    file = desk.short("a: fake-1\n", "a")

    desk.ok("set", file, "a", "--type", kind, "--stdin", stdin=text)

    assert desk.ok("get", file, "a", "--identity", "host.key").out == f"{shown}\n"


def test_a_value_of_another_type_is_not_repeated(desk: Desk) -> None:
    """Nothing says what the value was."""
    file = desk.short("a: fake-1\n", "a")

    for kind in ("int", "float", "bool", "date"):
        desk.refused(f"not of type {kind}", "set", file, "a", "--type", kind, "--stdin", code=2, stdin="fake-value")
    done = desk.refused("is not UTF-8 text; with --type bytes", "set", file, "a", "--stdin", stdin=b"fake-\xff")
    assert "xff" not in done.err


def test_a_value_as_an_argument(desk: Desk) -> None:
    """It is refused, and not repeated: a log of CI would keep it."""
    file = desk.encrypted()

    done = desk("set", file, "db.password", "fake-argument")

    assert done.code == 2
    assert "a value is no argument" in done.err
    assert "fake-argument" not in done.err


@pytest.mark.parametrize("value", ["ENC[sk1,aaaaaaaa,x]", "ENC[AES256_GCM,data:x]", "$ANSIBLE_VAULT;1.1;AES256"])
def test_a_ciphertext_is_no_value(value: str, desk: Desk) -> None:
    """The application would take it for the password."""
    file = desk.short("a: fake-1\n", "a")

    done = desk.refused("is itself a ciphertext", "set", file, "a", "--stdin", stdin=value)

    assert value not in done.err


def test_from_a_file(desk: Desk) -> None:
    """One line's end is left out, unless it is to be kept; both sources at once are wrong usage."""
    file = desk.short("a: fake-1\n", "a")
    desk.console.write("value", "two\nlines\r\n")

    desk.ok("set", file, "a", "--from-file", "value")
    assert desk.value(file, "a") == "two\nlines"
    desk.ok("set", file, "a", "--from-file", "value", "--keep-newline")
    assert desk.value(file, "a") == "two\nlines\r\n"
    desk.refused("comes from one place", "set", file, "a", "--from-file", "value", "--stdin", code=2)
    desk.refused("none: No such file or directory", "set", file, "a", "--from-file", "none")


def test_a_pipe_is_not_taken_for_a_person(desk: Desk) -> None:
    """Without --stdin, and without a terminal, nobody can be asked: that is said, and what was piped is not read."""
    file = desk.short("a: fake-1\n", "a")

    desk.refused("no terminal to ask for the value of a on: add --stdin", "set", file, "a", code=2, stdin="fake-x")


@pytest.mark.measured
def test_a_value_is_asked_for_on_a_terminal(desk: Desk) -> None:
    """It is typed twice, and not shown."""
    file = desk.short("a: fake-1\n", "a")
    terminal = Terminal(desk.console, "config", "set", file, "a")
    terminal.wait_for(b"New value of a:")
    terminal.type(b"fake-typed\n")
    terminal.wait_for(b"Repeat for confirmation:")
    terminal.type(b"fake-typed\n")

    assert terminal.end() == 0
    assert "fake-typed" not in terminal.plain
    assert desk.value(file, "a") == "fake-typed"


@pytest.mark.measured
def test_a_misspelt_path_is_refused_before_a_value_is_asked_for(desk: Desk) -> None:
    """Nobody types a secret in vain."""
    file = desk.short("a: fake-1\n", "a")

    terminal = Terminal(desk.console, "config", "set", file, "b")

    assert terminal.end() == 1
    assert "New value" not in terminal.plain


def test_the_same_value_again_changes_nothing_for_who_can_read(desk: Desk) -> None:
    """A reader sees that the value is the same; a write-only author cannot, and writes it anew."""
    file = desk.short("a: fake-1\n", "a")
    before = desk.console.read(file)

    assert "nothing to change" in desk.ok("set", file, "a", "--stdin", "--identity", "host.key", stdin="fake-1").err
    assert desk.console.read(file) == before
    desk.ok("set", file, "a", "--stdin", stdin="fake-1")
    assert desk.console.read(file) != before


def test_a_dry_run_of_set(desk: Desk) -> None:
    """It says which secret would change, and writes nothing."""
    file = desk.short("a: fake-1\nb: 1\n", "a")
    before = desk.console.read(file)

    assert "changed secret a\n" in desk.ok("set", file, "a", "--stdin", "--dry-run", stdin="fake-2").err
    assert "changed value b: 1 -> 2\n" in desk.ok("set", file, "b", "--stdin", "--clear", "--type", "int", "--dry-run", stdin="2").err
    assert "removed value b: 1\n" in desk.ok("unset", file, "b", "--dry-run").err
    assert desk.console.read(file) == before


# ------------------------------------------------------------------------------------------------ unset


def test_what_unset_takes(desk: Desk) -> None:
    """A path or a pattern, and not both; each has to be there."""
    file = desk.short("a: fake-1\nb: fake-2\n", "a", "b")

    desk.refused("name one thing to remove", "unset", file, code=2)
    desk.refused("name one thing to remove", "unset", file, "a", "--pattern", "a", code=2)
    desk.refused("has no c", "unset", file, "c")
    desk.refused("has no pattern 'c'", "unset", file, "--pattern", "c")


def test_a_pattern_goes_and_the_value_stays_encrypted(desk: Desk) -> None:
    """Only the rule is removed; a pattern for one value goes with that value."""
    file = desk.short("a: fake-1\nb: fake-2\nc: 3\n", "a", "b")

    desk.ok("unset", file, "--pattern", "a")
    desk.ok("unset", file, "b")

    assert desk.document(file).required.encrypt == ()
    assert desk.value(file, "a") == "fake-1"


def test_a_pattern_that_matches_nothing_any_more_is_named(desk: Desk) -> None:
    """Otherwise verify would find it later, in CI."""
    file = desk.short("a: {x y: fake-1}\nb: fake-2\n", 'a."x y"', "b")

    done = desk.ok("unset", file, "a")

    assert f"securekit config unset {file} --pattern 'a.\"x y\"'" in done.err
    desk.ok("unset", file, "--pattern", 'a."x y"')
    assert desk.ok("verify", file).code == 0


def test_a_list_closes_up_for_a_reader_alone(desk: Desk) -> None:
    """Secrets that move up are encrypted anew for their new place, which takes a reader."""
    file = desk.short("a: [fake-1, fake-2, fake-3]\n", "a")

    desk.refused("a[1] would move up in its list", "unset", file, "a[0]")
    desk.ok("unset", file, "a[2]")
    desk.ok("unset", file, "a[0]", "--identity", "host.key")

    assert desk.value(file, "a[0]") == "fake-2"


# ------------------------------------------------------------------------------------------------ reading


def test_what_reading_takes(desk: Desk) -> None:
    """A private key of a recipient; everything else is refused with what to do, and exit codes tell why."""
    file = desk.encrypted()
    desk.console.write("clear.yaml", "a: fake-1\n")

    desk.refused("is read with a private key: --identity FILE, or SECUREKIT_IDENTITY", "get", file, "db.password")
    desk.refused("give the private key of one of its recipients", "get", file, "db.password", "--identity", "mallory.key")
    desk.refused("none.key", "get", file, "db.password", "--identity", "none.key")
    desk.refused("did you mean db.password?", "get", file, "db.passwrd", "--identity", "host.key")
    desk.refused("is not a single value", "get", file, "db", "--identity", "host.key")
    desk.refused("cannot read none.yaml: No such file", "get", "none.yaml", "a", "--identity", "host.key")
    desk.refused("is not encrypted: it has no securekit block", "get", "clear.yaml", "a")
    (desk.folder / "host.key").chmod(0o644)
    desk.refused("chmod 600", "get", file, "db.password", "--identity", "host.key")
    (desk.folder / "host.key").chmod(0o600)
    assert desk.ok("get", file, "db.password", SECUREKIT_IDENTITY="host.key").out == "fake-Pa55: not # real\n"


def test_a_document_that_was_changed_by_hand_is_not_read(desk: Desk) -> None:
    """Exit code 3, and a hint what to do."""
    file = desk.encrypted()
    desk.console.write(file, desk.console.read(file).replace(b"port: 5432", b"port: 5433"))

    for command in (["get", file, "db.host"], ["decrypt", file], ["exec", file, "--", "true"]):
        done = desk.refused(
            "hint: the document was changed by hand or by a merge", *command[:2], "--identity", "host.key", *command[2:], code=3
        )
        assert done.out == ""


def test_nothing_secret_is_in_the_outputs_of_writers(desk: Desk) -> None:
    """Whatever a writer types, no secret comes back."""
    file = desk.encrypted()
    outputs = [
        desk.ok("set", file, "db.password", "--stdin", stdin="fake-new"),
        desk.ok("encrypt", file, "--encrypt", "stripe.publishable_key"),
        desk.ok("list", file),
        desk.ok("list", file, "--json"),
        desk.ok("verify", file),
        desk.ok("verify", file, "--json"),
        desk.ok("recipients", "list", file),
        desk.ok("trust", file, "--signer", "alice.pem"),
        desk.ok("diff", file, file),
        desk.ok("diff", "--textconv", file),
        desk.ok("rotate", file, "--identity", "host.key"),
        desk.ok("doctor", file, "--identity", "host.key"),
    ]

    assert not [done for done in outputs if any(secret in done.out + done.err for secret in SECRETS)]


@pytest.mark.parametrize("name", ["production.conf", "settings", ".env.production"])
def test_the_format_is_given_if_the_name_does_not_tell(name: str, desk: Desk) -> None:
    """--format goes with every command that reads or writes."""
    desk.console.write(name, "A_PASSWORD=fake-1\n")

    options = ("--format", "env")
    desk.ok("encrypt", name, *options, "--environment", "production", "--recipient", "host.pem", "--encrypt", "A_PASSWORD")
    desk.ok("set", name, "A_PASSWORD", *options, "--stdin", stdin="fake-2")

    assert desk.ok("get", name, "A_PASSWORD", *options, "--identity", "host.key").out == "fake-2\n"


def test_json_output_is_json(desk: Desk) -> None:
    """Names with odd characters are escaped on a terminal and exact in JSON."""
    file = desk.short('"\\e[31m": fake-1\n', "*")

    assert desk.ok("list", file, "--json").json[0]["path"] == r'"\u001b[31m"'
    assert "\x1b" not in desk.ok("list", file).out


def test_a_state_folder_that_cannot_be_written(desk: Desk) -> None:
    """Nothing is written at all, and the message names the variable."""
    file = desk.short("a: fake-1\n", "a")
    before = desk.console.read(file)
    desk.console.write("nowhere", "")

    (recipient,) = desk.document(file).required.recipients
    options = ("--stdin", "--identity", "host.key", "--confirm", recipient.key_ref)
    desk.refused("cannot remember the document in", "set", file, "a", *options, stdin="fake-2", SECUREKIT_STATE="nowhere/x")

    assert desk.console.read(file) == before


def test_a_new_document_in_a_missing_folder(empty: Console, desk: Desk) -> None:
    """The operating system's reason, and nothing left behind."""
    desk.refused("cannot write none/a.yaml", "init", "none/a.yaml", "--environment", "production", "--recipient", "host.pem")

    assert not Path("none").exists()
    assert CLEAR


@pytest.mark.parametrize("given", [b"", b"\n"])
def test_an_empty_value_is_refused_unless_it_is_meant(desk: Desk, given: bytes) -> None:
    """A variable that is not set in a script leaves the password as it was; --empty says that it is meant."""
    file, path = desk.encrypted(), PASSWORD["yaml"]
    before = desk.console.read(file)
    desk.refused("--empty", "set", file, path, "--stdin", stdin=given)
    assert desk.console.read(file) == before
    desk.ok("set", file, path, "--stdin", "--empty", stdin=given)
    assert desk.ok("get", file, path, "-n", "--identity", "host.key").raw == b""
