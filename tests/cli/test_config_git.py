# SPDX-License-Identifier: Apache-2.0
"""Documents under git, in real repositories: diffs that people can read, and merges that stay valid."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securekit.config import load
from tests.cli.config_desk import SECRETS, Desk
from tests.config.parts import CLEAR, FORMATS, PASSWORD

OTHER = {form: "SMTP_PASSWORD" if form == "env" else "smtp.password" for form in FORMATS}
"""The path of another secret."""


class Repository:
    """A git repository on the desk, set up for documents."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk = desk
        home = desk.folder / "home"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("SECUREKIT_STATE", str(desk.folder / "state"))
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        (home / ".gitconfig").write_text("[user]\nname = alice\nemail = alice@example.com\n[init]\ndefaultBranch = main\n")
        (desk.folder / ".gitignore").write_text("*.key\n*.pem\nhome/\nstate/\n")
        self.git("init", "-q")
        desk.ok("install-git")

    def git(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Run git, and return all that it says."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.desk.folder, capture_output=True, text=True, check=False, env={**os.environ, **env}
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def commit(self, message: str = "change") -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def branch(self, name: str) -> None:
        self.git("switch", "-q", "-c", name)

    def back(self) -> None:
        self.git("switch", "-q", "main")


@pytest.fixture
def repository(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(desk, monkeypatch)


def write(desk: Desk, file: str, path: str, value: str, *options: str) -> None:
    desk.ok("set", file, path, "--stdin", *options, stdin=value)


def edit_text(desk: Desk, file: str, old: str, new: str) -> None:
    text = desk.console.read(file).decode()
    assert text.count(old) == 1
    desk.console.write(file, text.replace(old, new), mode=0o644)


# ------------------------------------------------------------------------------------------------ merge


@pytest.mark.parametrize("form", FORMATS)
def test_two_branches_that_change_different_secrets_merge(form: str, desk: Desk, repository: Repository) -> None:
    """Without a conflict, without a private key, with a valid integrity tag, and with the higher generation plus one."""
    file = desk.encrypted(form)
    repository.commit()
    repository.branch("theirs")
    write(desk, file, OTHER[form], "fake-theirs-0")
    write(desk, file, OTHER[form], "fake-theirs")
    repository.commit()
    repository.back()
    write(desk, file, PASSWORD[form], "fake-ours")
    repository.commit()

    repository.git("merge", "-q", "theirs", "-m", "both")

    assert (desk.value(file, PASSWORD[form]), desk.value(file, OTHER[form])) == ("fake-ours", "fake-theirs")
    block = desk.document(file).required
    assert (block.generation, block.signatures) == (4, ())
    assert len(block.keys) == 4  # the first, one of each side, and the merge's own
    assert repository.git("status", "--porcelain") == ""
    write(desk, file, PASSWORD[form], "fake-later")  # this host goes on


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "json"])
def test_comments_of_both_sides_stay(form: str, desk: Desk, repository: Repository) -> None:
    """The text is merged as git would, where nothing conflicts."""
    sign = ";" if form == "ini" else "#"
    file = f"a.{form}"
    texts = {"yaml": "a: fake-1\nx: 1\ny: 2\nz: 3\nb: fake-2\n", "toml": 'a = "fake-1"\nx = 1\ny = 2\nz = 3\nb = "fake-2"\n'}
    texts |= {"env": "a=fake-1\nx=1\ny=2\nz=3\nb=fake-2\n", "ini": "[s]\na = fake-1\nx = 1\ny = 2\nz = 3\nb = fake-2\n"}
    top, end = f"{sign} the top\n", f"{sign} the end\n"
    text = texts[form] + end
    prefix = "s." if form == "ini" else ""
    desk.short(top + text, f"{prefix}a", f"{prefix}b", name=file)
    repository.commit()
    repository.branch("theirs")
    edit_text(desk, file, "the top", "their top")
    write(desk, file, f"{prefix}a", "fake-theirs")
    repository.commit()
    repository.back()
    edit_text(desk, file, "the end", "our end")
    write(desk, file, f"{prefix}b", "fake-ours")
    repository.commit()

    repository.git("merge", "-q", "theirs", "-m", "both")

    merged = desk.console.read(file).decode()
    assert f"{sign} their top\n" in merged
    assert f"{sign} our end\n" in merged
    assert (desk.value(file, f"{prefix}a"), desk.value(file, f"{prefix}b")) == ("fake-theirs", "fake-ours")


@pytest.mark.parametrize("form", FORMATS)
def test_two_changes_of_one_secret_conflict(form: str, desk: Desk, repository: Repository) -> None:
    """Ours is kept, git stops, and the message names the path and what to do; what did not conflict is merged."""
    file = desk.encrypted(form)
    repository.commit()
    repository.branch("theirs")
    write(desk, file, PASSWORD[form], "fake-theirs")
    write(desk, file, CLEAR[form], "theirs.example", "--clear")
    repository.commit()
    repository.back()
    write(desk, file, PASSWORD[form], "fake-ours")
    repository.commit()

    said = repository.git("merge", "theirs", code=1)

    assert f"securekit: error: {file}: both sides changed {PASSWORD[form]}; ours is kept" in said
    assert f"securekit config set {file} {PASSWORD[form]}; then git add" in said
    assert not any(secret in said for secret in SECRETS)
    assert repository.git("status", "--porcelain") == f"UU {file}\n"
    assert desk.value(file, PASSWORD[form]) == "fake-ours"
    assert desk.value(file, CLEAR[form]) == "theirs.example"
    write(desk, file, PASSWORD[form], "fake-right")
    repository.commit()
    assert desk.value(file, PASSWORD[form]) == "fake-right"


def test_a_rebase_merges_too(desk: Desk, repository: Repository) -> None:
    """Several commits on top of several others, by an author who can read nothing."""
    file = desk.encrypted()
    repository.commit()
    repository.branch("topic")
    for number in range(3):
        write(desk, file, "cache.password", f"fake-cache-{number}")
        repository.commit()
    repository.back()
    for number in range(3):
        write(desk, file, "db.password", f"fake-db-{number}")
        repository.commit()
    repository.git("switch", "-q", "topic")

    repository.git("rebase", "-q", "main")

    assert (desk.value(file, "cache.password"), desk.value(file, "db.password")) == ("fake-cache-2", "fake-db-2")


def test_added_and_removed_values_merge(desk: Desk, repository: Repository) -> None:
    """A value that one side adds, and one that the other removes; and the patterns of both."""
    file = desk.short("a: fake-1\nb: fake-2\nc: 3\n# middle\n# middle\nd: 4\n", "a", "b")
    repository.commit()
    repository.branch("theirs")
    write(desk, file, "e", "fake-5", "--create", "--encrypt")
    repository.commit()
    repository.back()
    desk.ok("unset", file, "a")
    repository.commit()

    repository.git("merge", "-q", "theirs", "-m", "both")

    document = desk.document(file)
    assert [leaf.name for leaf in document.leaves()] == ["b", "c", "d", "e"]
    assert set(document.required.encrypt) == {"b", "e"}
    assert desk.value(file, "e") == "fake-5"


def test_a_recipient_that_one_side_has_added(desk: Desk, repository: Repository) -> None:
    """It reads everything after the merge, if only its side has written; else it takes a reader, and without one git stops."""
    file = desk.encrypted()
    repository.commit()
    repository.branch("theirs")
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    repository.commit()
    repository.back()
    write(desk, file, "db.password", "fake-ours")
    repository.commit()

    said = repository.git("merge", "theirs", code=1)
    assert "to add a recipient takes somebody who can read" in said
    repository.git("merge", "--abort")
    repository.git("merge", "-q", "theirs", "-m", "both", SECUREKIT_IDENTITY="host.key")

    assert desk.value(file, "db.password", "host.key") == desk.value(file, "db.password", "host2.key") == "fake-ours"
    assert desk.value(file, "smtp.password", "host2.key") == "fake-smtp-password"


def test_a_recipient_that_our_side_has_added(desk: Desk, repository: Repository) -> None:
    """The other way round, it is the same."""
    file = desk.encrypted()
    repository.commit()
    repository.branch("theirs")
    write(desk, file, "db.password", "fake-theirs")
    repository.commit()
    repository.back()
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    repository.commit()

    repository.git("merge", "-q", "theirs", "-m", "both", SECUREKIT_IDENTITY="host2.key", code=1)  # it cannot read theirs yet
    repository.git("merge", "--abort")
    repository.git("merge", "-q", "theirs", "-m", "both", SECUREKIT_IDENTITY="host.key")

    assert desk.value(file, "db.password", "host2.key") == "fake-theirs"


def test_an_added_recipient_without_other_changes_takes_no_reader(desk: Desk, repository: Repository) -> None:
    """A change of a comment, or of a clear value, is no reason to stop."""
    file = desk.encrypted()
    repository.commit()
    repository.branch("theirs")
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    repository.commit()
    repository.back()
    write(desk, file, "db.port", "6432", "--clear", "--type", "int")
    repository.commit()

    repository.git("merge", "-q", "theirs", "-m", "both")

    assert desk.value(file, "db.port", "host2.key") == 6432
    assert desk.value(file, "db.password", "host2.key") == "fake-Pa55: not # real"


@pytest.mark.measured
@pytest.mark.parametrize("ours", [True, False])
def test_a_recipient_that_one_side_has_removed(ours: bool, desk: Desk, repository: Repository) -> None:
    """It does not come back, and what the other side wrote, which it could read, is to be changed at its source."""
    file = desk.encrypted()
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    repository.commit()
    repository.branch("theirs")
    steps = [
        lambda: desk.ok("recipients", "remove", file, "host2.pem", "--identity", "host.key"),
        lambda: desk.ok("set", file, "db.token", "--create", "--encrypt", "--stdin", stdin="fake-other"),
    ]
    steps[ours]()
    repository.commit()
    repository.back()
    steps[not ours]()
    repository.commit()

    said = repository.git("merge", "theirs", "-m", "both")

    (recipient,) = desk.document(file).required.recipients
    assert recipient.subject == "CN=host.example"
    assert desk.value(file, "db.token") == "fake-other"
    assert "change these values at their source" in said
    assert said.count("db.token") == 1
    assert "smtp.password" not in said


@pytest.mark.measured
def test_sides_that_leave_no_recipient(desk: Desk, repository: Repository) -> None:
    """Each side keeps whom the other has removed: that is refused."""
    file = desk.encrypted()
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    repository.commit()
    repository.branch("theirs")
    desk.ok("recipients", "remove", file, "host2.pem", "--identity", "host.key")
    repository.commit()
    repository.back()
    desk.ok("recipients", "remove", file, "host.pem", "--identity", "host2.key")
    repository.commit()

    assert "nobody could read the merge" in repository.git("merge", "theirs", code=1)


def test_a_side_that_nobody_vouches_for_is_not_merged(desk: Desk, repository: Repository) -> None:
    """A branch from elsewhere, whose author this host does not know, is looked at and adopted first."""
    file = desk.encrypted()
    repository.commit()
    repository.branch("theirs")
    write(desk, file, "db.password", "fake-theirs", *_adopting(desk, file))
    repository.commit()
    repository.back()
    write(desk, file, "smtp.password", "fake-ours")
    desk.forget()
    desk.ok("encrypt", file, "--adopt", "--yes", *_adopting(desk, file))
    repository.commit()

    said = repository.git("merge", "theirs", code=1)

    assert f"the other side's {file} was last changed by somebody whom nothing here can verify" in said
    assert desk.value(file, "db.password") == "fake-Pa55: not # real"


def test_a_side_with_a_recipient_that_nobody_has_confirmed(desk: Desk, repository: Repository) -> None:
    """The integrity tag of a forger verifies too: a recipient whom a branch brings along is confirmed first."""
    file = desk.encrypted()
    repository.commit()
    repository.branch("theirs")
    desk.ok("recipients", "add", file, "mallory.pem", "--identity", "host.key")
    repository.commit()
    repository.back()
    desk.forget()
    desk.ok("set", file, "db.port", "--clear", "--type", "int", "--stdin", "--identity", "host.key", *_confirm(desk, file), stdin="1")
    repository.commit()

    said = repository.git("merge", "theirs", code=1, SECUREKIT_IDENTITY="host.key")

    assert "has never written to the recipient CN=mallory.example" in said


def test_signed_sides_are_merged_and_the_merge_is_not_signed(desk: Desk, repository: Repository) -> None:
    """With a trust both sides have to be signed, and whoever has looked at the merge signs it."""
    file = desk.encrypted()
    desk.ok("sign", file, "--sign", "alice.key")
    desk.console.write("trust.toml", desk.ok("trust", file, "--signer", "alice.pem").out)
    repository.commit()
    repository.branch("theirs")
    write(desk, file, "db.password", "fake-theirs", "--sign", "alice.key")
    repository.commit()
    repository.back()
    write(desk, file, "smtp.password", "fake-ours", "--sign", "alice.key")
    repository.commit()
    desk.forget()

    said = repository.git("merge", "theirs", "-m", "both")

    assert f"refuse it until: securekit config sign {file} --sign KEY" in said
    assert desk.document(file).required.signatures == ()
    desk.ok("sign", file, "--sign", "alice.key")
    values = load(
        desk.folder / file, environment="production", identity=desk.folder / "host.key", trust=desk.folder / "trust.toml", environ={}
    )
    assert values["db"]["password"].reveal() == "fake-theirs"


def test_an_unsigned_side_is_refused_where_there_is_a_trust(desk: Desk, repository: Repository) -> None:
    """What a branch brings along is not blessed by merging it."""
    file = desk.encrypted()
    desk.ok("sign", file, "--sign", "alice.key")
    desk.console.write("trust.toml", desk.ok("trust", file, "--signer", "alice.pem").out)
    repository.commit()
    repository.branch("theirs")
    write(desk, file, "db.password", "fake-theirs")
    repository.commit()
    repository.back()
    write(desk, file, "smtp.password", "fake-ours", "--sign", "alice.key")
    repository.commit()
    desk.forget()

    said = repository.git("merge", "theirs", code=1)

    assert "the other side's production.yaml" in said
    assert "is not signed: let CN=alice sign it" in said


def test_versions_of_different_documents_do_not_merge(desk: Desk) -> None:
    """Another document's secrets do not open here, whatever their paths."""
    for name in ("one", "two"):
        desk.short("a: fake-1\n", "a", name=f"{name}.yaml")
    desk.console.write("base.yaml", "")
    desk.console.write("clear.yaml", "a: 1\n")

    desk.refused("not versions of one document", "merge", "base.yaml", "one.yaml", "two.yaml")
    desk.refused("has no securekit block: merge it as text", "merge", "base.yaml", "one.yaml", "clear.yaml")
    desk.refused("has no securekit block: merge it as text", "merge", "base.yaml", "clear.yaml", "one.yaml")
    desk.refused("cannot read none.yaml", "merge", "base.yaml", "one.yaml", "none.yaml")


def test_two_branches_without_an_ancestor(desk: Desk) -> None:
    """What both sides have alike stays, and what differs is a conflict."""
    desk.short("a: fake-1\nb: 2\n", "a", name="one.yaml")
    (desk.folder / "two.yaml").write_bytes(desk.console.read("one.yaml"))
    write(desk, "two.yaml", "c", "3", "--create", "--clear", "--type", "int")
    write(desk, "one.yaml", "b", "4", "--clear", "--type", "int")
    desk.console.write("base.yaml", "")

    done = desk("merge", "base.yaml", "one.yaml", "two.yaml")

    assert done.code == 1
    assert "both sides changed b; ours is kept" in done.err
    assert (desk.value("one.yaml", "b"), desk.value("one.yaml", "c")) == (4, 3)


def test_recipients_without_an_ancestor(desk: Desk) -> None:
    """Nothing says whether a recipient of one side was removed on the other: nobody is given back what was taken from them."""
    desk.short("a: fake-1\nb: 2\n", "a", name="one.yaml", recipients=("host.pem", "mallory.pem"))
    (desk.folder / "two.yaml").write_bytes(desk.console.read("one.yaml"))
    desk.ok("recipients", "remove", "two.yaml", "mallory.pem", "--identity", "host.key")
    desk.console.write("base.yaml", "")

    for sides in (("one.yaml", "two.yaml"), ("two.yaml", "one.yaml")):
        desk.refused("no common ancestor says who was removed", "merge", "base.yaml", *sides, "--identity", "host.key")


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ("a: fake-1\nl: [1, 2, 3]\n", "a: fake-1\nl: []\n", "both sides changed"),
        ("a: fake-1\nl: {x: 1}\n", "a: fake-1\nl: [7]\n", "both sides changed l[0]; ours is kept"),
        ("a: fake-1\nl: &x [1]\nm: *x\n", "a: fake-1\nl: [1]\nm: {}\n", "both sides changed"),
    ],
)
def test_structures_that_both_sides_changed(ours: str, theirs: str, said: str, desk: Desk) -> None:
    """What cannot be merged by values is refused, and our side stays as it was."""
    desk.short("a: fake-1\nl: [1]\n", "a", name="base.yaml")
    base = desk.console.read("base.yaml").decode()
    token = base[3 : base.index("\n")]
    block = base[base.index("securekit:") :]
    for name, text in (("ours.yaml", ours), ("theirs.yaml", theirs)):
        desk.console.write(name, text.replace("fake-1", token) + block, mode=0o644)
        desk.ok("encrypt", name, "--adopt", "--yes")
    before = desk.console.read("ours.yaml")

    done = desk("merge", "base.yaml", "ours.yaml", "theirs.yaml", "--adopt", "--yes")

    assert (done.code, said in done.err) == (1, True), done.err
    assert "securekit: error:" in done.err
    assert desk.console.read("ours.yaml") == before or "ours is kept" in done.err


def test_merging_without_git(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no git to merge texts, values are merged into our text."""
    desk.short("# top\na: fake-1\nb: fake-2\n", "a", "b", name="one.yaml")
    for name in ("base.yaml", "two.yaml"):
        (desk.folder / name).write_bytes(desk.console.read("one.yaml"))
    write(desk, "two.yaml", "a", "fake-3")
    write(desk, "one.yaml", "b", "fake-4")
    monkeypatch.setenv("PATH", str(desk.folder))

    desk.ok("merge", "base.yaml", "one.yaml", "two.yaml")

    assert (desk.value("one.yaml", "a"), desk.value("one.yaml", "b")) == ("fake-3", "fake-4")


# ------------------------------------------------------------------------------------------------ diff


@pytest.mark.parametrize("form", FORMATS)
def test_git_diff_is_short(form: str, desk: Desk, repository: Repository) -> None:
    """Of a changed secret it shows one line, cut short, and the generation; no ciphertext, and no secret."""
    file = desk.encrypted(form)
    repository.commit()
    write(desk, file, PASSWORD[form], "fake-new")

    lines = [line for line in repository.git("diff").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]

    assert len(lines) == 4, lines
    assert sum("<secret " in line for line in lines) == 2
    assert sum("generation" in line for line in lines) == 2
    assert not any(secret in line for line in lines for secret in SECRETS)


def test_git_diff_shows_who_can_read_and_who_has_signed(desk: Desk, repository: Repository) -> None:
    """A new recipient, pattern and signature are each a line."""
    file = desk.encrypted()
    repository.commit()
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")
    desk.ok("encrypt", file, "--encrypt", "stripe.publishable_key", "--sign", "alice.key")

    shown = repository.git("diff")

    assert "+securekit recipient CN=host2.example x509-hpke-p256:" in shown
    assert "+securekit encrypts stripe.publishable_key" in shown
    assert "+securekit signed by " in shown


def test_files_that_are_no_documents_are_shown_as_they_are(desk: Desk, repository: Repository) -> None:
    """A file of the same name that is not encrypted, or broken, or not text, is shown by git as ever."""
    for name, data in (("a.yaml", b"a: 1\n"), ("b.yaml", b"a: [1\n"), ("c.yaml", b"a: \xff\n")):
        desk.console.write(name, data)
    repository.commit()
    for name in ("a.yaml", "b.yaml", "c.yaml"):
        desk.console.write(name, desk.console.read(name) + b"b: 2\n")

    assert repository.git("diff").count("\n+b: 2") == 3
    assert desk.ok("diff", "--textconv", "a.yaml").out == "a: 1\nb: 2\n"


def test_diff_of_two_documents(desk: Desk) -> None:
    """For people and machines; one document alone is wrong usage."""
    file = desk.short("a: fake-1\nb: 2\n", "a")
    (desk.folder / "old.yaml").write_bytes(desk.console.read(file))
    write(desk, file, "a", "fake-2")
    write(desk, file, "b", "3", "--clear", "--type", "int")

    assert desk.ok("diff", "old.yaml", file).out == "changed secret a\nchanged value b: 2 -> 3\n"
    assert desk.ok("diff", "old.yaml", file, "--json").json == [
        {"change": "changed", "what": "secret", "name": "a", "before": "", "after": ""},
        {"change": "changed", "what": "value", "name": "b", "before": "2", "after": "3"},
    ]
    desk.refused("name two documents, OLD and NEW", "diff", file, code=2)


# ------------------------------------------------------------------------------------------------ install-git


def test_install_git_twice_writes_once(desk: Desk, repository: Repository) -> None:
    """The attributes are added to those that are there, each once."""
    attributes = desk.folder / ".gitattributes"
    before = attributes.read_text()
    assert "*.yaml diff=securekit merge=securekit\n" in before

    desk.ok("install-git")
    assert attributes.read_text() == before
    desk.ok("install-git", "config/*.conf", "--attributes", "other")
    assert (desk.folder / "other").read_text() == "config/*.conf diff=securekit merge=securekit\n"
    assert repository.git("config", "merge.securekit.driver") == "securekit config merge -- %O %A %B %P\n"


def test_attributes_without_a_last_line_end(desk: Desk, repository: Repository) -> None:
    """The last line of what is there is not joined with ours."""
    (desk.folder / ".gitattributes").write_text("*.png binary")

    desk.ok("install-git", "*.yaml")

    assert (desk.folder / ".gitattributes").read_text() == "*.png binary\n*.yaml diff=securekit merge=securekit\n"


def test_install_git_outside_of_a_repository(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's own reason; and --global needs no repository."""
    monkeypatch.setenv("HOME", str(desk.folder))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(desk.folder.parent))

    desk.refused("git config failed", "install-git")
    desk.ok("install-git", "--global", "*.yaml")

    assert "textconv = securekit config diff --textconv --" in (desk.folder / ".gitconfig").read_text()


def _adopting(desk: Desk, file: str) -> tuple[str, ...]:
    return ("--adopt", "--yes", *_confirm(desk, file))


def _confirm(desk: Desk, file: str) -> tuple[str, ...]:
    return tuple(option for one in desk.document(file).required.recipients for option in ("--confirm", one.key_ref))
