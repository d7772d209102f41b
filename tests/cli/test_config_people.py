# SPDX-License-Identifier: Apache-2.0
"""Who reads a document, who wrote it, and whom hosts believe: recipients, rotate, sign, trust, --adopt, --confirm."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from securekit.config import Trust, load
from securekit.exceptions import ConfigError, SecurityWarning
from securekit.wrappers import new_identity
from tests.cli.config_desk import SECRETS, Desk
from tests.cli.terminal import Terminal
from tests.config.parts import FORMATS, PASSWORD
from tests.conftest import Count

# ------------------------------------------------------------------------------------------------ recipients


@pytest.mark.parametrize("form", FORMATS)
def test_a_recipient_comes_and_goes(form: str, desk: Desk) -> None:
    """Adding lets it read everything; removing lists all that it could read, and leaves no key that it knew."""
    file, path = desk.encrypted(form), PASSWORD[form]

    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    assert desk.value(file, path, "host2.key") == desk.value(file, path)
    before = {key.id for key in desk.document(file).required.keys}
    removed = desk.ok("recipients", "remove", file, "host2.pem", "--identity", "host.key")

    assert len(removed.out.splitlines()) == 11
    assert "change these values at their source" in removed.err
    keys = desk.document(file).required.keys
    assert len(keys) == 1
    assert keys[0].id not in before
    desk.refused("is wrapped to", "get", file, path, "--identity", "host2.key")


def test_adding_takes_a_reader(desk: Desk) -> None:
    """Who can read nothing cannot let anybody read; nor can somebody who is no recipient."""
    file = desk.encrypted()

    for options in ([], ["--identity", "mallory.key"]):
        message = "to add a recipient takes somebody who can read production.yaml: give the private key of a recipient with --identity"
        desk.refused(message, "recipients", "add", file, "host2.pem", *options)
        desk.refused("the last recipient", "recipients", "remove", file, "host.pem", *options)


def test_who_is_removed(desk: Desk) -> None:
    """By a file, a fingerprint, or a subject; not the last one; not one whom the name does not tell."""
    file = desk.encrypted()
    reference = desk.ok("recipients", "list", file, "--json").json[0]["fingerprint"]
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")

    desk.refused("nobody names 0 recipients", "recipients", "remove", file, "nobody", "--identity", "host.key")
    for name in ("host.pem", "CN=host.example", reference, f"x509-hpke-p256:{reference}"):
        done = desk.ok("recipients", "remove", file, name, "--identity", "host.key", "--dry-run")
        assert "removed recipient CN=host.example" in done.err
    desk.refused("the last recipient", "recipients", "remove", file, "host.pem", "host2.pem", "--identity", "host.key")


def test_a_renewed_certificate_takes_the_old_ones_place(desk: Desk) -> None:
    """Over the same key it takes no reader, since nobody new can read."""
    from tests.identities import issue

    file = desk.encrypted()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key((desk.folder / "host.key").read_bytes(), None)
    desk.console.write("renewed.pem", issue("renewed.example", key).pem)

    desk.ok("recipients", "add", file, "renewed.pem")

    (row,) = desk.ok("recipients", "list", file, "--json").json
    assert row["subject"] == "CN=renewed.example"
    assert desk.value(file, "db.password") == "fake-Pa55: not # real"


def test_recipients_are_listed(desk: Desk) -> None:
    """With subject, kind, key fingerprint and end, for people and for machines."""
    file = desk.encrypted()

    (row,) = desk.ok("recipients", "list", file, "--json").json
    (line,) = desk.ok("recipients", "list", file).out.splitlines()

    assert set(row) == {"subject", "wrapper", "fingerprint", "not_after", "certificate"}
    assert line.split("\t") == [row["subject"], row["wrapper"], row["fingerprint"], row["not_after"]]


def test_other_kinds_of_recipients(desk: Desk) -> None:
    """A local key as a recipient takes that key to write to; a post-quantum key stands beside no certificate."""
    desk.console.ok("keys", "new-kek", "root.key")
    desk.console.ok("identity", "new", "--pq", "--key", "pq.key", "--public", "pq.pub")
    local = desk.short("a: fake-1\n", "a", name="local.yaml", recipients=("local:root.key", "host.pem"))
    archive = desk.short("a: fake-1\n", "a", name="archive.yaml", recipients=("pq.pub",))

    desk.refused("takes its secret: name it with --identity", "set", local, "a", "--stdin", stdin="fake-2")
    desk.ok("set", local, "a", "--stdin", "--identity", "local:root.key", stdin="fake-2")
    assert desk.ok("get", local, "a", "--identity", "host.key").out == "fake-2\n"
    desk.ok("set", archive, "a", "--stdin", stdin="fake-2")
    assert desk.ok("get", archive, "a", "--identity", "pq.key").out == "fake-2\n"
    desk.refused("a post-quantum recipient beside a certificate", "recipients", "add", archive, "host.pem", "--identity", "pq.key", code=2)


@pytest.mark.measured
def test_an_encrypted_identity_asks_for_its_password(desk: Desk) -> None:
    """On a terminal, once; and it is not shown."""
    new_identity("safe", key=desk.folder / "safe.key", cert=desk.folder / "safe.pem", password="fake-horse")
    file = desk.short("a: fake-1\n", "a", recipients=("safe.pem",))
    terminal = Terminal(desk.console, "config", "get", file, "a", "--identity", "safe.key")
    terminal.wait_for(b":")
    terminal.type(b"fake-horse\n")

    assert terminal.end() == 0
    assert terminal.plain.strip().endswith("fake-1")
    assert "fake-horse" not in terminal.plain


# ------------------------------------------------------------------------------------------------ rotate


@pytest.mark.parametrize("form", FORMATS)
def test_rotation_leaves_one_new_key(form: str, desk: Desk) -> None:
    """Every value is encrypted anew; values and everything else are the same."""
    file = desk.encrypted(form)
    for number in range(3):
        desk.ok("set", file, PASSWORD[form], "--stdin", stdin=f"fake-{number}")
    before = desk.document(file)

    desk.ok("rotate", file, "--identity", "host.key")

    after = desk.document(file)
    assert len(after.required.keys) == 1
    assert after.required.keys[0].id not in {key.id for key in before.required.keys}
    tokens = {leaf.token for leaf in before.leaves() if leaf.token}
    assert tokens.isdisjoint({leaf.token for leaf in after.leaves() if leaf.token})
    assert desk.value(file, PASSWORD[form]) == "fake-2"


def test_what_rotation_takes(desk: Desk) -> None:
    """A reader, and one file or a directory."""
    file = desk.encrypted()

    desk.refused("to rotate takes somebody who can read", "rotate", file)
    desk.refused("name one FILE, or a directory with --all", "rotate", code=2)
    desk.refused("name one FILE, or a directory with --all", "rotate", file, "--all", ".", code=2)
    before = desk.console.read(file)
    assert "changed secret db.password" in desk.ok("rotate", file, "--identity", "host.key", "--dry-run").err
    assert desk.console.read(file) == before


def _tree(desk: Desk) -> list[str]:
    """Lay documents of all formats into a tree, beside what is none."""
    (desk.folder / "tree" / "sub").mkdir(parents=True)
    (desk.folder / "tree" / ".git").mkdir()
    files = [desk.encrypted(form, name=f"tree/{'sub/' * (form in ('env', 'ini'))}app") for form in FORMATS]
    desk.place("yaml", "tree/clear")
    (desk.folder / "tree" / ".git" / "app.yaml").write_bytes(desk.console.read(files[0]))
    (desk.folder / "tree" / "link.yaml").symlink_to("app.yaml")
    desk.console.write("tree/notes.txt", "nothing")
    return files


def _journals(desk: Desk) -> list[Path]:
    return list((desk.folder / "state" / "rotations").glob("*"))


def test_rotating_a_tree(desk: Desk) -> None:
    """Every document below, and nothing in .git or behind a link; at the end no journal is left."""
    files = _tree(desk)
    before = desk.console.read("tree/.git/app.yaml")

    done = desk.ok("rotate", "--all", "tree", "--identity", "host.key")

    assert "5 documents rotated, 0 failed" in done.err
    assert [desk.document(file).required.generation for file in files] == [2] * 5
    assert desk.console.read("tree/.git/app.yaml") == before
    assert _journals(desk) == []
    assert not [name for name in desk.folder.rglob("*") if "rotat" in name.name and "state" not in name.parts]


def test_a_failing_document_does_not_stop_the_others(desk: Desk) -> None:
    """It is named, the exit code is 1, and the next run takes up that one alone."""
    files = _tree(desk)
    good = desk.console.read(files[1])
    desk.console.write(files[1], good.replace(b"5432", b"5433", 1), mode=0o644)

    done = desk("rotate", "--all", "tree", "--identity", "host.key")
    assert done.code == 1
    assert "4 documents rotated, 1 failed" in done.err
    assert f"securekit: error: {files[1]}:" in done.err
    assert len(_journals(desk)) == 1

    desk.console.write(files[1], good, mode=0o644)
    done = desk.ok("rotate", "--all", "tree", "--identity", "host.key")
    assert "going on where the last run was interrupted: 4 documents are done" in done.err
    assert "1 documents rotated, 0 failed" in done.err
    assert [desk.document(file).required.generation for file in files] == [2] * 5
    assert _journals(desk) == []


def test_what_was_changed_after_an_interrupted_run_is_rotated_again(desk: Desk) -> None:
    """The journal knows what it has written, to the byte, for a day: nothing is passed over because of its name."""
    import os

    files = _tree(desk)
    desk.console.write("tree/broken.yaml", desk.console.read(files[0]).replace(b"5432", b"5433", 1))
    assert desk("rotate", "--all", "tree", "--identity", "host.key").code == 1
    desk.ok("set", files[0], "db.password", "--stdin", stdin="fake-later")

    done = desk("rotate", "--all", "tree", "--identity", "host.key")
    assert "4 documents are done" in done.err
    assert desk.document(files[0]).required.generation == 4

    (journal,) = _journals(desk)
    os.utime(journal, (0, 0))
    assert "are done" not in desk("rotate", "--all", "tree", "--identity", "host.key").err
    journal.write_text("damaged")
    assert "are done" not in desk("rotate", "--all", "tree", "--identity", "host.key").err


def test_a_journal_in_the_directory_is_not_believed(desk: Desk) -> None:
    """Whoever can write the repository cannot keep a document from being rotated."""
    files = _tree(desk)
    desk.console.write("tree/.securekit-rotate.json", json.dumps([*files, "app.yaml"]))

    assert "5 documents rotated" in desk.ok("rotate", "--all", "tree", "--identity", "host.key").err


def test_a_dry_run_of_a_tree(desk: Desk) -> None:
    """It says what it would do, writes nothing, and touches no journal of an interrupted run."""
    files = _tree(desk)
    desk.console.write("tree/broken.yaml", desk.console.read(files[0]).replace(b"5432", b"5433", 1))
    assert desk("rotate", "--all", "tree", "--identity", "host.key").code == 1
    (desk.folder / "tree" / "broken.yaml").unlink()

    done = desk.ok("rotate", "--all", "tree", "--identity", "host.key", "--dry-run")

    assert "5 documents would be rotated, 0 failed" in done.err
    assert [desk.document(file).required.generation for file in files] == [2] * 5
    assert len(_journals(desk)) == 1


def test_what_looks_like_a_document_and_is_none(desk: Desk) -> None:
    """A damaged document, or one with another name, is warned of and not passed over in silence."""
    files = _tree(desk)
    text = desk.console.read(files[0])
    desk.console.write("tree/renamed.txt", text)
    desk.console.write("tree/damaged.yaml", text + b"\n]")

    done = desk.ok("rotate", "--all", "tree", "--identity", "host.key")

    assert done.err.count("looks like a document, and is not read") == 2
    assert "tree/renamed.txt" in done.err


@pytest.mark.measured
def test_a_password_is_asked_for_once(desk: Desk) -> None:
    """However many documents there are; and progress is shown on a terminal."""
    new_identity("safe", key=desk.folder / "safe.key", cert=desk.folder / "safe.pem", password="fake-horse")
    (desk.folder / "tree").mkdir()
    for name in ("a", "b", "c"):
        desk.short("a: fake-1\n", "a", name=f"tree/{name}.yaml", recipients=("safe.pem",))
    terminal = Terminal(desk.console, "config", "rotate", "--all", "tree", "--identity", "safe.key")
    terminal.wait_for(b":")
    terminal.type(b"fake-horse\n")

    assert terminal.end() == 0
    assert "3 documents rotated, 0 failed" in terminal.plain
    assert terminal.plain.lower().count("password") == 1


@pytest.mark.repetitive
def test_an_interrupted_rotation_of_a_tree_goes_on(desk: Desk, count: Count) -> None:
    """Killed at every tenth rename or link, a run is resumed: each document is old or rotated once, and no journal stays."""
    killed = 0
    names = [f"tree/{number}.yaml" for number in range(4)]
    (desk.folder / "tree").mkdir()
    for name in names:
        desk.short("a: fake-1\nb: 2\n", "a", name=name)
    originals = {name: desk.console.read(name) for name in names}
    command = [sys.executable, "-B", "-m", "securekit", "config", "rotate", "--all", "tree", "--identity", "host.key"]
    environment = {"SECUREKIT_STATE": str(desk.folder / "state"), "PATH": "/usr/bin:/bin", "HOME": str(desk.folder)}
    for number in range(1, 12):
        for name, data in originals.items():
            desk.console.write(name, data, mode=0o644)
        inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=rename,renameat,renameat2:signal=KILL:when={number}"]
        done = subprocess.run(
            [*inject, "-e", "trace=rename,renameat,renameat2", *command], env=environment, capture_output=True, check=False
        )
        killed += done.returncode != 0
        assert {desk.document(name).required.generation for name in names} <= {1, 2}

        desk.ok("rotate", "--all", "tree", "--identity", "host.key")

        assert {desk.document(name).required.generation for name in names} == {2}
        assert _journals(desk) == []
        assert {path.name for path in (desk.folder / "tree").iterdir()} == {Path(name).name for name in names}
        if done.returncode == 0:
            break
    assert killed >= 8
    count("rotations of a tree killed and resumed", killed)


# ------------------------------------------------------------------------------------------------ sign and trust


def test_signatures_of_several(desk: Desk) -> None:
    """Each stands beside the others; an edit removes them all, and signs anew where a key is given."""
    file = desk.encrypted()

    assert "2 signatures" in [desk.ok("sign", file, "--sign", f"{name}.key").err for name in ("alice", "bob", "bob")][-1]
    desk.ok("set", file, "db.password", "--stdin", stdin="fake-2")
    assert desk.document(file).required.signatures == ()
    desk.ok("set", file, "db.password", "--stdin", stdin="fake-3", SECUREKIT_SIGNING_KEY="alice.key")
    assert len(desk.document(file).required.signatures) == 1


def test_what_signing_takes(desk: Desk) -> None:
    """A guarded private key, of a document that was verified."""
    file = desk.encrypted()
    desk.place("yaml", "clear")

    desk.refused("whose signature? Name the private key with --sign KEY", "sign", file)
    desk.refused("is not encrypted", "sign", "clear.yaml", "--sign", "alice.key")
    desk.refused("none.key", "sign", file, "--sign", "none.key")
    (desk.folder / "alice.key").chmod(0o640)
    desk.refused("chmod 600", "sign", file, "--sign", "alice.key")
    (desk.folder / "alice.key").chmod(0o600)
    desk.forget()
    desk.refused("nothing here can verify", "sign", file, "--sign", "alice.key")


@pytest.mark.measured
def test_an_encrypted_signing_key_asks_for_its_password(desk: Desk) -> None:
    """On a terminal; a wrong one is refused."""
    new_identity("anna", key=desk.folder / "anna.key", cert=desk.folder / "anna.pem", kind="ed25519", password="fake-horse")
    file = desk.encrypted()
    for typed, code in ((b"wrong\n", 1), (b"fake-horse\n", 0)):
        terminal = Terminal(desk.console, "config", "sign", file, "--sign", "anna.key")
        terminal.wait_for(b":")
        terminal.type(typed)
        assert terminal.end() == code, terminal.plain
    assert len(desk.document(file).required.signatures) == 1


def test_the_printed_trust_is_one(desk: Desk) -> None:
    """It names the document, its environment, signers and recipients, and is read back as such."""
    file = desk.encrypted()

    text = desk.ok("trust", file, "--signer", "alice.pem", "--signer", "bob.pem", "--state", "seen").out

    trust = Trust.parse(text, desk.folder)
    block = desk.document(file).required
    entry = trust.entry(block.document.hex())
    assert entry.environment == "production"
    assert [signer.subject for signer in entry.signers] == ["CN=alice", "CN=bob"]
    assert entry.recipients == {recipient.name for recipient in block.recipients}
    assert (entry.generation, entry.state) == (1, desk.folder / "seen")


def _trusted(desk: Desk) -> str:
    """Put a signed document beside a trust that believes alice, as a repository has it."""
    file = desk.encrypted()
    desk.ok("sign", file, "--sign", "alice.key")
    desk.console.write("trust.toml", desk.ok("trust", file, "--signer", "alice.pem").out)
    return file


READING = (["get", "db.host"], ["decrypt"], ["exec", "--files", "--", "true"])
WRITING = (
    ["set", "db.password", "--stdin"],
    ["unset", "db.password"],
    ["encrypt"],
    ["rotate"],
    ["recipients", "add", "host2.pem"],
    ["sign"],
)


def _with_file(command: list[str], file: str) -> list[str]:
    at = 2 if command[0] == "recipients" else 1
    return [*command[:at], file, "--identity", "host.key", *command[at:]]


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=lambda command: command[0])
def test_every_command_enforces_the_trust(command: list[str], desk: Desk) -> None:
    """An unsigned change, another environment, a stranger among the recipients, an older generation: each is refused by each."""
    file = _trusted(desk)
    policy = desk.console.read("trust.toml").decode()
    good = desk.console.read(file)
    desk.forget()
    (desk.folder / "trust.toml").unlink()
    (recipient,) = desk.document(file).required.recipients
    desk.ok("set", file, "db.password", "--stdin", "--identity", "host.key", "--confirm", recipient.key_ref, stdin="fake-2")
    unsigned = desk.console.read(file)
    desk.forget()

    for data, rule, message in (
        (unsigned, policy, "is not signed"),
        (good, policy.replace('"production"', '"staging"'), "belongs to the environment 'production'"),
        (good, re.sub("x509-hpke-p256:[0-9a-f]{64}", f"x509-hpke-p256:{'0' * 64}", policy), "may be read by"),
        (good, policy.replace("generation = 1", "generation = 2"), "asks for 2 or later"),
        (good, policy.replace(desk.document(file).required.document.hex(), "0" * 32), "does not name document"),
        (good, policy + "typo = 1\n", "unknown key 'typo'"),
    ):
        desk.console.write(file, data, mode=0o644)
        desk.console.write("trust.toml", rule)
        desk.refused(message, *_with_file(command, file), stdin="fake-3")
        assert desk.console.read(file) == data

    desk.console.write(file, good, mode=0o644)
    desk.console.write("trust.toml", policy.replace("]\ngeneration", f'  "{_reference(desk, "host2.pem")}",\n]\ngeneration'))
    options = ["--sign", "alice.key"] if command in WRITING else []
    position = _with_file(command, file)
    desk.ok(*position[:2], *options, *position[2:], stdin="fake-3") if command[0] != "recipients" else desk.ok(*position, *options)


def _reference(desk: Desk, certificate: str) -> str:
    from securekit.wrappers import CertificateWrapper

    wrapper = CertificateWrapper.from_files(cert=desk.folder / certificate)
    return f"{wrapper.name}:{wrapper.key_ref}"


def test_the_repositorys_trust_is_found_from_a_subfolder(desk: Desk) -> None:
    """Up to the folder that has .git, and no further."""
    file = _trusted(desk)
    (desk.folder / "repo" / "config").mkdir(parents=True)
    for name in (file, "trust.toml"):
        (desk.folder / name).rename(desk.folder / "repo" / ("config/" * (name == file) + name))
    inside = f"repo/config/{file}"
    desk.forget()

    desk.refused("nothing here can verify", "set", inside, "db.password", "--stdin", stdin="fake-2")  # no repository yet
    (desk.folder / "repo" / ".git").mkdir()
    desk.ok("set", inside, "db.password", "--stdin", stdin="fake-2")


def test_the_hosts_own_trust_wins(desk: Desk) -> None:
    """Whoever can change the repository cannot change whom the host believes."""
    file = _trusted(desk)
    host = desk.folder / "etc"
    host.mkdir(mode=0o755)
    (desk.folder / "host.key").rename(host / "host.key")
    (host / "trust.toml").write_text(desk.ok("trust", file, "--signer", "bob.pem").out)
    desk.forget()

    desk.refused("let CN=bob sign it", "get", file, "db.host", "--identity", "etc/host.key")
    desk.refused("let CN=bob sign it", "get", file, "db.host", SECUREKIT_IDENTITY="etc/host.key")
    desk.ok("get", file, "db.host", "--identity", "etc/host.key", "--trust", "trust.toml")
    desk.ok("get", file, "db.host", "--identity", "etc/host.key", SECUREKIT_TRUST="trust.toml")


def test_the_state_refuses_what_is_older_than_what_was_seen(desk: Desk) -> None:
    """Where the trust names a state, a rolled back document is refused, by the loader and by every command."""
    file = _trusted(desk)
    host = desk.folder / "etc"
    host.mkdir(mode=0o755)
    (desk.folder / "host.key").rename(host / "host.key")
    (host / "trust.toml").write_text(desk.ok("trust", file, "--signer", "alice.pem", "--state", "seen").out)
    old = desk.console.read(file)
    desk.ok("set", file, "db.password", "--stdin", "--sign", "alice.key", stdin="fake-2")
    where = desk.folder / file
    load(where, environment="production", identity=host / "host.key", environ={})

    desk.console.write(file, old, mode=0o644)

    with pytest.raises(ConfigError, match="is of generation 1, and this host has seen 2"):
        load(where, environment="production", identity=host / "host.key", environ={})
    desk.refused("this host has seen 2", "get", file, "db.host", "--identity", "etc/host.key")
    desk.refused("this host has seen 2", "set", file, "db.password", "--stdin", "--identity", "etc/host.key", stdin="fake-3")


def test_a_command_does_not_write_what_hosts_would_refuse(desk: Desk) -> None:
    """A recipient whom the trust does not allow is not added; a signature that it does not want is pointed out."""
    file = _trusted(desk)
    before = desk.console.read(file)

    desk.refused("may be read by", "recipients", "add", file, "host2.pem", "--identity", "host.key", "--sign", "alice.key")
    assert desk.console.read(file) == before
    done = desk.ok("set", file, "db.password", "--stdin", "--sign", "bob.key", stdin="fake-2")
    assert "hint: hosts refuse it as it is" in done.err
    done = desk.ok("set", file, "db.password", "--stdin", stdin="fake-2")
    assert f"refuse it until: securekit config sign {file} --sign KEY" in done.err
    assert "hint" not in desk.ok("sign", file, "--sign", "alice.key").err


def test_loading_without_a_trust_warns(desk: Desk) -> None:
    """It says how to set one up."""
    file = desk.encrypted()

    with pytest.warns(SecurityWarning, match="securekit config trust") as caught:
        load(desk.folder / file, environment="production", identity=desk.folder / "host.key", environ={})

    assert len(caught) == 1


# ------------------------------------------------------------------------------------------------ adopt and confirm


def _changed_by_others(desk: Desk) -> str:
    """Let somebody else change a clear value, a secret and the recipients, on another host."""
    file = desk.encrypted()
    mine = desk.console.read(file)
    other = {"SECUREKIT_STATE": "other"}
    (recipient,) = desk.document(file).required.recipients
    desk.ok("recipients", "add", file, "mallory.pem", "--identity", "host.key", "--confirm", recipient.key_ref, **other)
    desk.ok("set", file, "db.host", "--stdin", "--clear", stdin="evil.example", **other)
    desk.ok("set", file, "db.password", "--stdin", stdin="fake-theirs", **other)
    assert mine != desk.console.read(file)
    return file


@pytest.mark.measured
def test_adopt_shows_what_is_taken_over_and_asks(desk: Desk) -> None:
    """On a terminal: clear values, names of secrets, recipients; then whether each new recipient was compared. No means nothing."""
    file = _changed_by_others(desk)
    before = desk.console.read(file)
    for answers, code in (((b"n\n",), 130), ((b"y\n", b"n\n"), 1), ((b"y\n", b"y\n"), 0)):
        terminal = Terminal(
            desk.console, "config", "set", file, "cache.port", "--clear", "--type", "int", "--from-file", "value", "--adopt"
        )
        desk.console.write("value", "1")
        terminal.wait_for(b"Take these changes over?")
        terminal.type(answers[0])
        for answer in answers[1:]:
            terminal.wait_for(b"Have you compared this fingerprint")
            terminal.type(answer)
        assert terminal.end() == code, terminal.plain
        assert (desk.console.read(file) == before) == (code != 0)
        for shown in (
            "changed value db.host: 'db1.eu.example' -> 'evil.example'",
            "changed secret db.password",
            "added recipient CN=mallory",
        ):
            assert shown in terminal.plain
        assert not any(secret in terminal.plain for secret in SECRETS)
    assert desk.value(file, "cache.port") == 1


def test_adopt_where_nobody_can_be_asked(desk: Desk) -> None:
    """--yes says that somebody has looked; a new recipient is confirmed all the same."""
    file = _changed_by_others(desk)
    mallory = _reference(desk, "mallory.pem").split(":")[1]

    desk.refused("take it over with --adopt", "set", file, "db.port", "--clear", "--stdin", stdin="1")
    desk.refused("where nobody can be asked, add --yes", "set", file, "db.port", "--clear", "--stdin", "--adopt", stdin="1")
    desk.refused(f"--confirm {mallory}", "set", file, "db.port", "--clear", "--stdin", "--adopt", "--yes", stdin="1")
    desk.ok("set", file, "db.port", "--clear", "--stdin", "--adopt", "--yes", "--confirm", mallory, stdin="1")
    desk.ok("set", file, "db.port", "--clear", "--stdin", stdin="2")


def test_a_document_that_was_never_seen(desk: Desk) -> None:
    """Everything in it is new, and said to be so."""
    file = desk.encrypted()
    desk.forget()
    (recipient,) = desk.document(file).required.recipients

    done = desk.ok("encrypt", file, "--adopt", "--yes", "--confirm", recipient.key_ref)

    assert "this host has never seen the document: everything in it is new" in done.err
    assert "added secret db.password" in done.err
    assert desk.document(file).required.generation == 2


@pytest.mark.measured
def test_confirming_on_a_terminal(desk: Desk) -> None:
    """A recipient to whom this host has never written is shown with its whole fingerprint."""
    file = desk.short("a: fake-1\n", "a")
    desk.forget()
    (recipient,) = desk.document(file).required.recipients
    terminal = Terminal(desk.console, "config", "rotate", file, "--identity", "host.key")
    terminal.wait_for(b"Have you compared this fingerprint")
    terminal.type(b"y\n")

    assert terminal.end() == 0
    assert f"CN=host.example: x509-hpke-p256, key fingerprint {recipient.key_ref}" in terminal.plain
    desk.ok("rotate", file, "--identity", "host.key")
