# SPDX-License-Identifier: Apache-2.0
"""A policy says whom to believe; what it does not say in so many words is refused, with the entry and the repair."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import subprocess
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.certificates import self_signed
from securekit._primitives.signatures import SigningKey
from securekit.config._trust import DocumentTrust, Trust, find_trust
from securekit.exceptions import ConfigError, SecurityWarning
from securekit.wrappers import CertificateWrapper, PostQuantumWrapper
from tests.conftest import Count
from tests.identities import DAY, KINDS, NOW, SIGNING_KINDS, clock, issue, pem, private_key, usage

ID, OTHER = "0f" * 16, "a1" * 16
MESSAGE = b"the canonical document"
_fork = multiprocessing.get_context("fork")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users need root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the certificates of signers and recipients of every kind."""
    for kind in SIGNING_KINDS:
        (tmp_path / f"{kind}.signer").write_bytes(issue(kind, private_key(kind), usage("digital_signature")).pem)
    for kind in KINDS:
        (tmp_path / f"{kind}.host").write_bytes(issue(kind, private_key(kind)).pem)
    PostQuantumWrapper.generate(key=tmp_path / "pq.key", public=tmp_path / "pq.host")
    return tmp_path


def entry(**changes: Any) -> str:
    """Return the text of one entry; a value of None leaves its key out."""
    values = {"id": ID, "signers": ["ed25519.signer"], "recipients": ["p256.host"], **changes}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    return "\n".join(["[[document]]", *lines, ""])


def trust(folder: Path, **changes: Any) -> DocumentTrust:
    (folder / "trust.toml").write_text(entry(**changes))
    return Trust.read(folder / "trust.toml").entry(ID)


def signed(*kinds: str, number: int = 0, message: bytes = MESSAGE) -> list[tuple[str, bytes]]:
    keys = [SigningKey(private_key(kind, number)) for kind in kinds]
    return [(key.reference, key.sign(message)) for key in keys]


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ what a file says


def test_everything_that_can_be_said(folder: Path) -> None:
    """Each key ends in its attribute; paths are relative to the file."""
    found = trust(
        folder,
        environment="production",
        signers=[f"{kind}.signer" for kind in SIGNING_KINDS],
        signatures=2,
        recipients=[*(f"{kind}.host" for kind in KINDS), "pq.host", "keyring:eu/acme/config@1234abcd", "local:00ff", "passphrase:"],
        generation=12,
        state="state/production.json",
        mounts=["kv/app", "secret"],
    )

    wrappers = [CertificateWrapper.from_pem(key=pem(private_key(kind))) for kind in KINDS]
    pq = PostQuantumWrapper.from_files(public=folder / "pq.host")
    assert (found.id, found.environment, found.required, found.generation) == (ID, "production", 2, 12)
    assert [signer.subject for signer in found.signers] == [f"CN={kind}" for kind in SIGNING_KINDS]
    assert found.recipients == {
        *((wrapper.name, wrapper.key_ref) for wrapper in wrappers),
        (pq.name, pq.key_ref),
        ("keyring", "eu/acme/config@1234abcd"),
        ("local", "00ff"),
        ("passphrase", ""),
    }
    assert (found.state, found.mounts, found.source) == (folder / "state/production.json", ("kv/app", "secret"), folder / "trust.toml")


def test_what_is_optional(folder: Path) -> None:
    """Without them one signature is enough, any generation and environment is good, and no mount is allowed."""
    found = trust(folder)
    assert (found.environment, found.required, found.generation, found.state, found.mounts) == (None, 1, 0, None, ())


def test_certificates_in_the_file_itself(folder: Path) -> None:
    """PEM stands for the file that holds it, and a recipient's reference for its certificate."""
    wrapper = CertificateWrapper.from_pem(key=pem(private_key("p384")))
    found = trust(
        folder,
        signers=[(folder / "p256.signer").read_text()],
        recipients=["\n" + (folder / "rsa.host").read_text(), f"{wrapper.name}:{wrapper.key_ref}"],
    )
    assert found.signers[0].subject == "CN=p256"
    assert (wrapper.name, wrapper.key_ref) in found.recipients
    assert {name for name, _ in found.recipients} == {"x509-rsa-oaep-256", "x509-hpke-p384"}


def test_several_documents(folder: Path) -> None:
    """Each has its own entry; a document that none names is refused, with what to add."""
    (folder / "trust.toml").write_text(entry() + entry(id=OTHER, environment="staging"))
    both = Trust.read(str(folder / "trust.toml"))
    assert (both.entry(ID).environment, both.entry(OTHER).environment) == (None, "staging")
    said = refusal(both.entry, "ee" * 16)
    assert said.startswith(f"{folder / 'trust.toml'} does not name document {'ee' * 16}: ")
    assert f'add a [[document]] with id = "{"ee" * 16}", its signers and its recipients' in said
    assert refusal(Trust.parse("", folder).entry, ID).startswith(f"{folder / 'trust.toml'} does not name")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "document 1 has no id"),
        ({"id": "0F" * 16}, "document 1 has an id that is not 32 hexadecimal digits"),
        ({"id": 1}, "has a id that is no text"),
        ({"signers": None}, "has no signers: add it"),
        ({"signers": []}, "has 0 signers; 1 to 64 are read"),
        ({"signers": ["ed25519.signer"] * 65}, "has 65 signers; 1 to 64 are read"),
        ({"signers": "ed25519.signer"}, "has a signers that is no list"),
        ({"signers": [1]}, "has signers that are not all texts"),
        ({"signers": ["missing.pem"]}, "has the signer 'missing.pem', which cannot be used: cannot read the policy file .*No such file"),
        ({"signers": ["p256.host\n"]}, "neither PEM nor the name of a file"),
        ({"signers": [""]}, "neither PEM nor the name of a file"),
        ({"signers": ["x25519.host"]}, "has the signer 'x25519.host', which cannot be used: .*make one that signs with: securekit"),
        ({"signers": ["wrapping.pem"]}, "does not allow signatures, only key agreement; make one that signs with: securekit"),
        ({"signers": ["pq.host"]}, "no certificate found"),
        ({"signers": ["-----BEGIN CERTIFICATE-----" + "A" * 200]}, "has the signer '-----BEGIN CERTIFICATE-----A{73}…', which"),
        ({"signatures": 0}, "has a number for signatures that is not 1 or more"),
        ({"signatures": True}, "has a signatures that is no number"),
        ({"signatures": 1.0}, "has a signatures that is no number"),
        ({"signatures": 2}, "asks for 2 signatures and has 1 signers with keys of their own"),
        ({"signatures": 2, "signers": ["ed25519.signer", "ed25519.signer"]}, "asks for 2 signatures and has 1 signers"),
        ({"recipients": None}, "has no recipients: add it"),
        ({"recipients": []}, "has 0 recipients; 1 to 64"),
        ({"recipients": ["missing.pem"]}, "has the recipient 'missing.pem', which cannot be used"),
        ({"recipients": ["ed25519.signer"]}, "has the recipient 'ed25519.signer', which cannot be used: .*is not wrapped to"),
        ({"recipients": ["pq.key"]}, "has the recipient 'pq.key', which cannot be used: no certificate found"),
        ({"recipients": ["bad.pq"]}, "has the recipient 'bad.pq', which cannot be used: not an X-Wing public key file"),
        ({"recipients": ["x509-hpke-p256:abcd"]}, "whose reference is of another form: copy it"),
        ({"recipients": ["hpke-mlkem768-x25519:" + "A" * 64]}, "whose reference is of another form"),
        ({"recipients": ["local:a\nb"]}, "whose reference is of another form"),
        ({"recipients": ["local:" + "a" * 257]}, "whose reference is of another form"),
        ({"generation": -1}, "has a number for generation that is not 0 or more"),
        ({"generation": 2**63}, "has a number for generation that is not 0 or more, and below 2"),
        ({"environment": ""}, "has a environment that is not 1 to 256 printable"),
        ({"environment": "a\x1b"}, "has a environment that is not 1 to 256 printable"),
        ({"environment": "a" * 257}, "has a environment that is not 1 to 256 printable"),
        ({"state": ""}, "has a state that is not"),
        ({"mounts": ["../sys"]}, "has the mount '../sys': it is a path such as kv/app"),
        ({"mounts": ["kv/"]}, "has the mount 'kv/'"),
        ({"mounts": ["k" * 257]}, "has the mount 'k{100}…'"),
        ({"mounts": "kv"}, "has a mounts that is no list"),
        ({"signer": ["ed25519.signer"]}, "has the unknown key 'signer': correct or remove it"),
        ({"Environment": "production"}, "has the unknown key 'Environment'"),
    ],
)
def test_an_entry_of_another_form_is_refused(changes: dict[str, Any], reason: str, folder: Path) -> None:
    """Missing, misspelt, of another type, out of bounds or unreadable: never passed over, always named with file and entry."""
    (folder / "wrapping.pem").write_bytes(self_signed(private_key("p256"), "web1", not_before=NOW, not_after=NOW + DAY))
    (folder / "bad.pq").write_text("securekit-pq-public-1:AAAA\n")
    said = refusal(partial(trust, folder), **changes)
    assert said.startswith(f"{folder / 'trust.toml'}, document 1 ")
    assert re.search(reason, said), said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[document]", "is not TOML: .*line 1"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("x = " + "9" * 5000, "is not TOML"),
        ("[document]\nid = 1", "has a document that is no list"),
        ("document = [1]", "document 1 is no table: write"),
        ("[[documents]]", "has the unknown key 'documents'"),
        (entry() * 2, f"has two entries for document {ID}: join them"),
        (entry(state="s") + entry(id=OTHER, state="./s"), "has two documents with the state .*: give each its own"),
        ("[[document]]\n" * 1001, "has 1001 documents; at most 1000"),
        ("#" * 65537, "has more than 65536"),
        ("", "is empty"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, reason: str, folder: Path) -> None:
    """No TOML, no tables, two entries for one document, or too much of anything: the file is named."""
    path = folder / "trust.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    said = refusal(Trust.read, path)
    assert str(path) in said
    assert re.search(reason, said), said
    if len(text) > 65536:
        assert re.search(reason, refusal(Trust.parse, text, folder))


@given(
    st.text(max_size=200)
    | st.builds(lambda a, b, c: entry()[:a] + b + entry()[a + c :], st.integers(0, 90), st.text(max_size=3), st.integers(0, 3))
)
def test_mutated_files_raise_only_our_error(text: str) -> None:
    """Whatever the text is, it is a policy or a ConfigError."""
    with suppress(ConfigError):
        Trust.parse(text, "/nowhere")


# ------------------------------------------------------------------------------------------------ who may have written it


@pytest.mark.parametrize("loose", ["trust.toml", "ed25519.signer", "p256.host", "pq.host"])
def test_what_others_could_have_written_is_refused(loose: str, folder: Path) -> None:
    """The file and each certificate that it names; the message has the command that repairs it. A repository is its reviewers' matter."""
    trust(folder, recipients=["p256.host", "pq.host"])
    path = folder / "trust.toml"
    (folder / loose).chmod(0o664)

    assert f"{folder / loose} can be changed by others (mode 0664); repair it with: chmod go-w {folder / loose}" in refusal(
        Trust.read, path
    )
    assert Trust.read(path, guarded=False).entry(ID).signers[0].subject == "CN=ed25519"

    subprocess.run(["chmod", "go-w", folder / loose], check=True)
    assert Trust.read(path).entry(ID).signers[0].subject == "CN=ed25519"


def test_a_repository_keeps_no_state(folder: Path) -> None:
    """What a repository says never names a file that is written on this machine."""
    (folder / "trust.toml").write_text(entry(state="state.json", generation=3))
    found = Trust.read(folder / "trust.toml", guarded=False).entry(ID)
    assert found.state is None
    found.check_generation(5)
    assert not (folder / "state.json").exists()
    assert "asks for 3 or later" in refusal(found.check_generation, 2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "is not there, or no file"),
        ("fifo", "is not there, or no file"),
        ("x" * 300, "File name too long"),
        ("large", "more than 65536"),
    ],
)
def test_a_repository_that_names_odd_files(name: str, reason: str, folder: Path) -> None:
    """A pipe does not block, and too much is not read."""
    os.mkfifo(folder / "fifo")
    (folder / "large").write_bytes(bytes(65537))
    text = entry(signers=[name])
    assert re.search(reason, refusal(Trust.parse, text, folder, guarded=False))


# ------------------------------------------------------------------------------------------------ recipients


def test_strangers_among_the_recipients_are_named(folder: Path) -> None:
    """Some or none of the allowed ones are good; each other one is named, with the file that would allow it."""
    found = trust(folder, recipients=["p256.host", "local:00ff"])
    p256 = next(recipient for recipient in found.recipients if recipient[0] != "local")
    for good in ([], [p256], [p256, ("local", "00ff")], [p256, p256]):
        found.check_recipients(good)
    said = refusal(found.check_recipients, [p256, ("x509-hpke-p256", "e" * 64), ("local", "00fe"), ("x509-hpke-p384", p256[1])])
    assert said == (
        f"document {ID} may be read by local 00fe, x509-hpke-p256 {'e' * 16}…, x509-hpke-p384 {p256[1][:16]}…,"
        f" which {folder / 'trust.toml'} does not allow: remove them, or add them to its recipients"
    )


# ------------------------------------------------------------------------------------------------ signatures


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_a_signer_of_every_kind_is_believed(kind: str, folder: Path) -> None:
    """The one signature that is asked for is enough, and others beside it change nothing."""
    found = trust(folder, signers=[f"{kind}.signer"])
    for signatures in (signed(kind), [("e" * 64, b"x"), *signed(kind)]):
        (signer,) = found.check_signatures(iter(signatures), MESSAGE, clock=clock())
        assert signer.subject == f"CN={kind}"


def test_why_signatures_are_not_believed(folder: Path) -> None:
    """Unsigned, signed by others, changed, signed twice by one, or by too few: each has its own words and says who can help."""
    found = trust(folder, signers=["ed25519.signer", "p256.signer"], signatures=2)
    stranger = signed("ed25519", number=1)
    good = signed("ed25519", "p256")
    cases: dict[str, list[tuple[str, bytes]]] = {
        "is not signed: let CN=(ed25519|p256) or CN=(ed25519|p256) sign it$": [],
        rf"is signed only by keys that .*trust.toml does not allow \({stranger[0][0][:16]}…\): let CN=": stranger,
        "was changed since CN=ed25519 signed it, or the signature was: it does not verify$": signed("ed25519", message=b"another"),
        "was changed since CN=p256 signed it": [good[0], (good[1][0], good[0][1])],
        "has two signatures of one key, ": [good[0], good[0], good[1]],
        "is signed by CN=ed25519, and 2 signers are required: let CN=p256 sign it, too$": [good[0], *stranger],
    }
    for reason, signatures in cases.items():
        said = refusal(found.check_signatures, signatures, MESSAGE, clock=clock())
        assert said.startswith(f"document {ID} ")
        assert re.search(reason, said), said
    assert {signer.subject for signer in found.check_signatures(good, MESSAGE, clock=clock())} == {"CN=ed25519", "CN=p256"}


def test_two_certificates_over_one_key_are_one_signer(folder: Path) -> None:
    """A renewed certificate beside the old one makes no second signature, and the younger one is what is returned."""
    (folder / "old").write_bytes(issue("anna", private_key("ed25519"), end=NOW - DAY / 2).pem)
    for order in (["old", "ed25519.signer"], ["ed25519.signer", "old"]):
        found = trust(folder, signers=[*order, "p256.signer"], signatures=2)
        assert "2 signers are required: let CN=p256" in refusal(found.check_signatures, signed("ed25519"), MESSAGE, clock=clock())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(found.check_signatures(signed("ed25519", "p256"), MESSAGE, clock=clock())) == 2


def test_an_expired_signer_is_a_warning(folder: Path) -> None:
    """What was signed in time stays signed; whoever looks after the last moment is told to renew."""
    found = trust(folder)
    found.check_signatures(signed("ed25519"), MESSAGE, clock=clock(NOW + 365 * DAY))
    with pytest.warns(SecurityWarning, match=f"CN=ed25519, who signed document {ID}, expired on 2027-06-01: renew it") as heard:
        found.check_signatures(signed("ed25519"), MESSAGE, clock=clock(NOW + 366 * DAY))
    assert [warning.filename for warning in heard] == [__file__]


def test_of_many_signers_a_few_are_named(folder: Path) -> None:
    """A message stays readable."""
    names = []
    for number in range(7):
        (folder / f"s{number}").write_bytes(issue(f"s{number}", private_key("ed25519", number)).pem)
        names.append(f"s{number}")
    said = refusal(trust(folder, signers=names).check_signatures, [], MESSAGE)
    assert said.endswith("is not signed: let CN=s0 or CN=s1 or CN=s2 or CN=s3 or CN=s4 or others sign it")


# ------------------------------------------------------------------------------------------------ generations


def test_the_least_generation(folder: Path) -> None:
    """A smaller one is refused, the same and greater ones are not; without a state nothing is remembered."""
    found = trust(folder, generation=12)
    assert f"is of generation 11, and {found.source} asks for 12 or later" in refusal(found.check_generation, 11)
    for generation in (12, 99, 12):
        found.check_generation(generation)


def test_the_highest_generation_is_remembered(folder: Path) -> None:
    """A smaller one than this host has seen is refused with the way back, which works."""
    found = trust(folder, state="my state.json")
    for generation in (0, 3, 3, 7):
        found.check_generation(generation)
    said = refusal(found.check_generation, 6)
    assert "is of generation 6, and this host has seen 7: deploy a newer one; or, if it is meant to go back: rm " in said
    found.check_generation(7)
    assert (folder / "my state.json").stat().st_mode & 0o777 == 0o644

    subprocess.run(said.rpartition("go back: ")[2], shell=True, check=True)  # noqa: S602 - as an operator would paste it
    found.check_generation(6)
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".json") == ["my state.json"]


@pytest.mark.parametrize(
    "state",
    [
        b"{}",
        b"7",
        b"x",
        b"\xff",
        b'{"generation": 3}',
        b'{"generation": true, "id": "%s"}' % ID.encode(),
        b'{"generation": -1, "id": "%s"}' % ID.encode(),
        b'{"generation": 3.0, "id": "%s"}' % ID.encode(),
        b'{"generation": 3, "id": "%s"}' % OTHER.encode(),
        b"[" * 1000,
        b'{"generation": 3, "id": "%s"' % ID.encode(),
    ],
)
def test_a_damaged_state_is_refused(state: bytes, folder: Path) -> None:
    """What cannot be compared is not believed, is left as it is, and the repair works."""
    found = trust(folder, state="state.json")
    (folder / "state.json").write_bytes(state)
    said = refusal(found.check_generation, 10)
    assert f"{folder / 'state.json'} is damaged, or another document's" in said
    assert (folder / "state.json").read_bytes() == state
    subprocess.run(said.rpartition("start anew with: ")[2], shell=True, check=True)  # noqa: S602 - as an operator would paste it
    found.check_generation(10)


@pytest.mark.parametrize("kind", ["writable by others", "empty", "directory", "dangling link", "large"])
def test_a_state_that_is_not_guarded_is_refused(kind: str, folder: Path) -> None:
    """Who could have lowered the number could have rolled the document back."""
    found = trust(folder, state="state.json")
    state = folder / "state.json"
    if kind == "directory":
        state.mkdir()
    elif kind == "dangling link":
        state.symlink_to("nowhere")
    else:
        state.write_bytes({"empty": b"", "large": bytes(1025)}.get(kind, b'{"generation": 3, "id": "%s"}' % ID.encode()))
        state.chmod(0o666 if kind == "writable by others" else 0o644)
    said = refusal(found.check_generation, 10)
    assert said.startswith(f"document {ID} cannot be compared with what this host has seen: ")
    assert str(state) in said
    assert kind != "writable by others" or said.endswith(f"repair it with: chmod go-w {state}")


def test_a_missing_folder_of_the_state_is_made_by_the_repair(folder: Path) -> None:
    """A state that cannot be written is an error: otherwise nothing would ever be remembered."""
    found = trust(folder, state="var lib/state.json")
    said = refusal(found.check_generation, 1)
    assert f"cannot be recorded in {folder / 'var lib' / 'state.json'}: No such file or directory" in said
    subprocess.run(said.rpartition("with: ")[2], shell=True, check=True)  # noqa: S602 - as an operator would paste it
    found.check_generation(1)
    assert "has seen 1" in refusal(found.check_generation, 0)


@needs_root
@pytest.mark.parametrize("case", ["unwritable", "unreadable"])
def test_a_state_of_another_users(case: str, folder: Path) -> None:
    """A service that may not write or look at its state is told so, rather than started without it."""
    found = trust(folder, state="d/state.json")
    (folder / "d").mkdir(mode=0o755 if case == "unwritable" else 0o700)
    found.check_generation(1)
    receiving, sending = _fork.Pipe(duplex=False)

    def run() -> None:
        os.seteuid(1234)
        if case == "unwritable":
            found.check_generation(1)  # nothing new is to be written
        sending.send(refusal(found.check_generation, 2))

    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    child = _fork.Process(target=run)
    child.start()
    said = receiving.recv()
    child.join()
    assert ("cannot be recorded" if case == "unwritable" else "cannot look for") in said
    assert "Permission denied" in said


def test_services_that_start_at_once_remember_the_highest(folder: Path, count: Count) -> None:
    """Whatever the order, the state ends at the highest generation, and nobody who was older gets in afterwards."""
    found = trust(folder, state="state.json")

    def start(generation: int) -> bool:
        with suppress(ConfigError):
            found.check_generation(generation)
            return True
        return False

    for begin in range(0, 60, 6):
        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(start, range(begin, begin + 6)))
        assert outcomes[-1]
        assert json.loads((folder / "state.json").read_bytes())["generation"] == begin + 5
    count("services started at once with one state", 60)


def test_a_state_that_never_rests_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody is faster every time, that ends in an error, not in a document that is not remembered."""
    found = trust(folder, state="state.json")

    def link(*_: object, **__: object) -> None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link)
    assert "which others change all the time: run the command again" in refusal(found.check_generation, 1)


# ------------------------------------------------------------------------------------------------ finding it


def named(folder: Path, environment: str) -> Path:
    """Write a trust file with the name that is looked for, recognisable by its environment."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = issue("anna", private_key("ed25519")).pem.decode()
    (folder / "trust.toml").write_text(entry(signers=[certificate], recipients=["local:00"], environment=environment))
    return folder / "trust.toml"


def which(found: Trust | None) -> str | None:
    return None if found is None else found.entry(ID).environment


def test_the_first_of_four_places_is_taken(tmp_path: Path) -> None:
    """The argument, the variable, beside the identity, and in the repository if that is asked for; otherwise there is none."""
    files = {place: named(tmp_path / place, place) for place in ("argument", "variable", "identity", "repository")}
    (tmp_path / "repository" / ".git").mkdir()
    everything: dict[str, Any] = {
        "explicit": files["argument"],
        "environ": {"SECUREKIT_TRUST": str(files["variable"])},
        "identity": tmp_path / "identity" / "host.key",
        "document": tmp_path / "repository" / "config" / "production.yaml",
        "repository": True,
    }
    ready = Trust.read(files["argument"])
    assert find_trust(**{**everything, "explicit": ready}) is ready
    for place in ("explicit", "environ", "identity", "document"):
        expected = {"explicit": "argument", "environ": "variable", "document": "repository"}.get(place, place)
        assert which(find_trust(**everything)) == expected
        everything[place] = {} if place == "environ" else None
    assert find_trust(**everything) is None
    assert find_trust(environ={}) is None
    assert find_trust(environ={}, document=tmp_path / "repository" / "x.yaml") is None
    assert find_trust(environ={}, identity=tmp_path / "nowhere" / "host.key") is None


def test_the_variable_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a mapping is given, the process' own environment counts."""
    monkeypatch.setenv("SECUREKIT_TRUST", str(named(tmp_path, "variable")))
    assert which(find_trust()) == "variable"
    assert find_trust(environ={}) is None


def test_the_nearest_file_of_the_repository(tmp_path: Path) -> None:
    """From the document's folder up to the one with .git, as a folder or a file, and no further."""
    document = tmp_path / "repository" / "a" / "b" / "production.yaml"
    look = partial(find_trust, environ={}, document=document, repository=True)
    named(tmp_path, "outside")
    document.parent.mkdir(parents=True)
    assert look() is None  # in no repository, only the document's own folder counts
    (tmp_path / "repository" / ".git").write_text("gitdir: elsewhere")
    assert look() is None
    for place in ("repository", "repository/a", "repository/a/b"):
        named(tmp_path / place, place)
        assert which(look()) == place
    (tmp_path / "repository" / "a" / "b" / "trust.toml").chmod(0o666)
    assert which(look()) == "repository/a/b"  # its reviewers are its guard
    link = tmp_path / "link.yaml"
    link.symlink_to(document)
    document.touch()
    assert which(find_trust(environ={}, document=link, repository=True)) == "repository/a/b"


@pytest.mark.parametrize("broken", ["missing", "loose", "dangling", "empty variable", "malformed"])
def test_a_policy_that_cannot_be_read_is_never_replaced_by_another(broken: str, tmp_path: Path) -> None:
    """If the one that applies is missing, loose or malformed, that is an error, not a reason to look further."""
    good = named(tmp_path / "repository", "repository")
    path = named(tmp_path / "identity", "identity")
    environ: Mapping[str, str] = {}
    if broken == "missing":
        environ = {"SECUREKIT_TRUST": str(tmp_path / "gone")}
    elif broken == "empty variable":
        environ = {"SECUREKIT_TRUST": ""}
    elif broken == "loose":
        path.chmod(0o666)
    elif broken == "malformed":
        path.write_text("[")
    else:
        path.unlink()
        path.symlink_to("gone")
    said = refusal(find_trust, environ=environ, identity=path.parent / "host.key", document=good.parent / "x.yaml", repository=True)
    assert "SECUREKIT_TRUST is empty: let it name the trust file, or unset it" in said or "gone" in said or str(path) in said


def test_a_folder_that_may_not_be_looked_at_is_an_error(tmp_path: Path) -> None:
    """That no policy can be seen does not mean that there is none."""
    said = refusal(find_trust, environ={}, identity=tmp_path / ("x" * 300) / "host.key")
    assert "cannot look for" in said
    assert "File name too long" in said
