# SPDX-License-Identifier: Apache-2.0
"""What a document may be built upon: what this host knows, what was signed, what was verified, what somebody has looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from securekit.config import Document, HostState
from securekit.config._base import check_base, check_trust, unseen_recipients
from securekit.config._state import _replace
from securekit.exceptions import ConfigError
from tests.config.parts import CLEAR, FORMATS, PASSWORD, author, from_text, host, path, reader, sealed, trust_in, write_only


@pytest.fixture
def state(tmp_path: Path) -> HostState:
    return HostState(tmp_path / "state")


def with_comment(document: Document) -> Document:
    """Return the document with one more comment."""
    sign = ";" if document.format == "ini" else "#"
    return document.with_text(f"{sign} hello\n{document.source.text}")


def with_clear_change(document: Document) -> Document:
    """Return the document with a clear value that was changed by hand."""
    return document.with_text(document.source.replace({path(CLEAR[document.format]): "evil.example"}))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "json"])
def test_a_known_document_may_have_other_comments(form: str, state: HostState) -> None:
    """An author who can read nothing goes on after a comment was changed by hand, since no signature covers those either."""
    state.remember(sealed(form))

    edit = with_comment(sealed(form)).edit(state=state)
    edit.set(path(PASSWORD[form]), "new")

    assert edit.finish().open([host().private]).at(path(PASSWORD[form])) == "new"


@pytest.mark.parametrize("form", FORMATS)
def test_a_known_document_has_its_values(form: str, state: HostState) -> None:
    """A value that was changed by hand makes another document, which nobody here has verified."""
    state.remember(sealed(form))

    with pytest.raises(ConfigError, match=r"nothing here can verify: .* --adopt"):
        with_clear_change(sealed(form)).edit(state=state)


def test_nothing_is_known_at_first(state: HostState) -> None:
    """Without a reader, a trust or something seen, nothing is built upon; and no folder is made by asking."""
    with pytest.raises(ConfigError, match="nothing here can verify"):
        sealed("yaml").edit(state=state)

    assert not state.folder.exists()


def test_a_trust_wants_a_signature_even_of_what_opens() -> None:
    """Where there is a trust, the integrity tag is not enough: whoever can write the file could have made it."""
    document = sealed("yaml")
    opened = document.open([host().private])

    with pytest.raises(ConfigError, match="is not signed: let CN=alice sign it; look at what has changed"):
        check_base(document, opened=opened, trust=trust_in(document, author()), state=None)
    check_base(document.sign(author().key), opened=None, trust=trust_in(document, author()), state=None)


def test_a_known_document_needs_no_signature(state: HostState) -> None:
    """Who has written it here goes on, and signs when it is done."""
    state.remember(sealed("yaml"))

    check_base(sealed("yaml"), opened=None, trust=trust_in(sealed("yaml"), author()), state=state)


@pytest.mark.parametrize("known", [False, True])
def test_nobody_builds_on_an_older_generation(known: bool, state: HostState) -> None:
    """What is older than the trust wants it is refused, signed or known: its passwords are those of before."""
    document = sealed("yaml").sign(author().key)
    if known:
        state.remember(document)

    with pytest.raises(ConfigError, match=r"is of generation 1, and trust.toml asks for 2 or later"):
        check_base(document, opened=None, trust=trust_in(document, author(), generation=2), state=state)
    check_base(document, opened=None, trust=trust_in(document, author(), generation=2), state=state, adopt=True)


@pytest.mark.parametrize("adopt", [False, True])
def test_nobody_adopts_a_stranger(adopt: bool) -> None:
    """A recipient or an environment that the trust does not allow is not taken over, and the message offers no such thing."""
    document = sealed("yaml").sign(author().key)

    for options, message in (
        ({"recipients": frozenset({host(1).name})}, "may be read by x509-hpke-p256"),
        ({"environment": "staging"}, "belongs to the environment 'production'"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            check_base(document, opened=None, trust=trust_in(document, author(), **options), state=None, adopt=adopt)
        assert "--adopt" not in str(caught.value)


def test_trust_that_does_not_name_the_document() -> None:
    """A trust of other documents says nothing of this one, and so it is refused."""
    with pytest.raises(ConfigError, match="does not name document"):
        check_trust(sealed("json"), trust_in(sealed("yaml"), author()))


def test_recipients_that_nobody_has_seen(state: HostState) -> None:
    """A recipient is new until this host has written to it, or the trust allows it."""
    document = sealed("yaml")
    assert [one.name for one in unseen_recipients(document, trust=None, state=state)] == [host().name]

    with pytest.raises(ConfigError, match=f"--confirm {host().name[1]}"):
        document.edit(wrappers=[host().private], state=state)
    assert not unseen_recipients(document, trust=trust_in(document, author()), state=state)
    state.remember(document)
    assert not unseen_recipients(document, trust=None, state=state)


def test_a_recipient_that_was_slipped_in_is_not_written_to(state: HostState) -> None:
    """A recipient whom somebody has put into the document is asked about again, even by who can read."""
    state.remember(sealed("yaml"))
    edit = reader(sealed("yaml"))
    edit.add_recipient(host(1).public)

    with pytest.raises(ConfigError, match=rf"has never written to the recipient CN=web1.example .* --confirm {host(1).name[1]}"):
        edit.finish().edit(wrappers=[host().private], state=state)


# ------------------------------------------------------------------------------------------------ the state


def test_a_branch_brings_its_trust_along(state: HostState) -> None:
    """A repository's trust allows recipients of a document that is new to this host; later only a trust of the host's own adds some."""
    document = sealed("yaml")
    edit = reader(document)
    edit.add_recipient(host(9).public)
    branch = edit.finish()
    theirs = replace(trust_in(branch, author()), guarded=False)
    assert not unseen_recipients(branch, trust=theirs, state=state)
    state.remember(document)
    assert [one.name for one in unseen_recipients(branch, trust=theirs, state=state)] == [host(9).name]
    assert not unseen_recipients(branch, trust=replace(theirs, guarded=True), state=state)


def test_state_remembers_versions_and_recipients(state: HostState) -> None:
    """Versions of several branches are known at once, and the last one is what changes are shown against."""
    first = from_text("a: 1\nb: 2\n", "yaml", "a")
    edit = write_only(first)
    edit.set(path("a"), "new")
    second = edit.finish()

    state.remember(first)
    state.remember(second)
    state.remember(second)

    seen = state.seen(first.required.document)
    assert seen.knows(first)
    assert seen.knows(second)
    assert len(seen.digests) == 2
    assert (seen.format, seen.text) == ("yaml", second.source.text)
    assert seen.recipients == {":".join(host().name)}
    assert not state.seen(bytes(16)).digests


def test_state_is_of_bounded_size(state: HostState) -> None:
    """Of many versions the last 256 are known."""
    document = from_text("a: 1\nb: 2\n", "yaml", "a")
    for number in range(260):
        state.remember(document.with_text(document.source.replace({path("b"): number})))

    assert len(state.seen(document.required.document).digests) == 256


def test_state_is_private(state: HostState) -> None:
    """The folder and what is in it are its owner's alone."""
    state.remember(sealed("yaml"))

    (entry,) = (state.folder / "documents").iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [b" ", b"{", b"[]", b'{"format":"yaml"}', b"[" * 100_000])
def test_damaged_state_is_refused(damage: bytes, state: HostState) -> None:
    """What cannot be read is not as if nothing were there; the message says what to do."""
    state.remember(sealed("yaml"))
    (entry,) = (state.folder / "documents").iterdir()
    entry.write_bytes(damage)

    with pytest.raises(ConfigError, match="is damaged: remove it, and adopt the document anew"):
        state.seen(sealed("yaml").required.document)


def test_unguarded_state_is_refused(state: HostState) -> None:
    """Whoever could write it would decide what is believed."""
    state.remember(sealed("yaml"))
    (entry,) = (state.folder / "documents").iterdir()
    entry.chmod(0o666)

    with pytest.raises(ConfigError, match=r"chmod .* remembers what this host has seen"):
        state.seen(sealed("yaml").required.document)


def test_state_that_is_a_link_to_nothing(state: HostState) -> None:
    """It is not as if nothing were there."""
    state.remember(sealed("yaml"))
    (entry,) = (state.folder / "documents").iterdir()
    entry.unlink()
    entry.symlink_to("nowhere")
    with pytest.raises(ConfigError, match=f"the key file {entry} .*remembers what this host has seen"):
        state.remember(sealed("yaml"))


def test_state_that_cannot_be_written(tmp_path: Path) -> None:
    """The message names the folder, and the variable that names another one."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"cannot remember the document in .*SECUREKIT_STATE"):
        HostState(tmp_path / "file").remember(sealed("yaml"))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"SECUREKIT_STATE": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_STATE_HOME": "/b", "HOME": "/c"}, "/b/securekit"),
        ({"HOME": "/c"}, "/c/.local/state/securekit"),
    ],
)
def test_where_the_state_is(environ: dict[str, str], folder: str) -> None:
    """The variable comes first, then the XDG base directories."""
    assert HostState.of_user(environ).folder == Path(folder)


REMEMBER = """
import sys
from securekit.config import Document, HostState, parse_path
document = Document.read(sys.argv[1])
for number in range(40):
    HostState(sys.argv[2]).remember(document.with_text(document.source.replace({parse_path("b"): f"{sys.argv[3]}-{number}"})))
"""


def test_two_processes_remember_at_once(tmp_path: Path, state: HostState) -> None:
    """Nothing that one of two processes remembers is lost."""
    document = from_text("a: 1\nb: x\n", "yaml", "a")
    file = tmp_path / "doc.yaml"
    document.write(file, expected=None)
    command = [sys.executable, "-c", REMEMBER, str(file), str(state.folder)]

    running = [subprocess.Popen([*command, name], env=os.environ) for name in ("one", "two")]
    assert [process.wait(60) for process in running] == [0, 0]

    assert len(state.seen(document.required.document).digests) == 80


@pytest.mark.parametrize("before", [None, b"what was there before"])
def test_who_is_late_writes_nothing(tmp_path: Path, before: bytes | None) -> None:
    """An entry that another process has made, or changed, since it was read is not written over."""
    entry = tmp_path / "entry.json"
    entry.write_bytes(b"what another process wrote")

    assert not _replace(entry, before, b"ours")
    assert entry.read_bytes() == b"what another process wrote"
    assert _replace(entry, b"what another process wrote", b"ours")


def test_one_process_goes_on_alone(state: HostState) -> None:
    """Who holds the state's lock may take it again; another one waits until it is free."""
    with state.alone(), state.alone():
        command = ["flock", "--nonblock", str(state.folder), "true"]
        assert subprocess.run(command, check=False).returncode == 1
    assert subprocess.run(command, check=False).returncode == 0


def test_a_state_that_cannot_be_locked(tmp_path: Path) -> None:
    """Where no folder can be made, the message names the variable that names another one."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"cannot remember the document in .*SECUREKIT_STATE"), HostState(tmp_path / "file" / "x").alone():
        pass
