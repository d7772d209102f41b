# SPDX-License-Identifier: Apache-2.0
"""The metadata block: one text for each block, strictly decoded, with bounds that are checked first."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.hkdf import hkdf
from securekit._wire import base64url
from securekit.config import Document
from securekit.config._block import DataKey, MetadataBlock, Recipient, Signature, check_environment
from securekit.exceptions import FormatError
from securekit.wrappers import CertificateWrapper
from tests.config.parts import encrypt, sealed
from tests.conftest import Count
from tests.identities import clock, issue, pem, private_key

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() != "-" and text.isprintable()
)
TIMES = st.integers(0, 2**31).map(lambda seconds: DataKey("00000000", seconds, ()).encode().split(" ")[1])
ABOUT = st.fixed_dictionaries({}, optional={"fingerprint": HEX, "not_after": TIMES, "subject": PRINTABLE})
PUBLIC = st.builds(
    lambda kind, public, about: Recipient.decode(Recipient(kind, "", public, about).encode()),
    st.sampled_from(["x509-hpke-p256", "x509-rsa-oaep-256", "hpke-mlkem768-x25519"]),
    st.binary(min_size=1, max_size=1300),
    ABOUT,
)
NAMED = st.builds(
    lambda kind, reference, about: Recipient(kind, "" if reference == "-" else reference, None, about),
    st.sampled_from(["local", "passphrase", "keyring", "vault-transit"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=700),
    ABOUT,
)
RECIPIENTS = st.lists(PUBLIC | NAMED, min_size=1, max_size=4, unique_by=lambda one: one.name).map(
    lambda found: tuple(sorted(found, key=lambda one: one.name))
)


@st.composite
def blocks(draw: st.DrawFn) -> MetadataBlock:
    """Any block within its bounds."""
    recipients = draw(RECIPIENTS)
    copies = st.lists(st.binary(min_size=1, max_size=200), min_size=len(recipients), max_size=len(recipients)).map(tuple)
    ids = draw(st.lists(st.binary(min_size=4, max_size=4).map(bytes.hex), min_size=1, max_size=4, unique=True))
    signatures = draw(st.dictionaries(HEX, st.binary(min_size=1, max_size=1024), max_size=3))
    return MetadataBlock(
        document=draw(st.binary(min_size=16, max_size=16)),
        environment=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        generation=draw(st.integers(1, 2**53 - 1)),
        encrypt=tuple(draw(st.lists(st.sampled_from(["a", "**.b*", '"a b"[0]', "[*]"]), max_size=5))),
        recipients=recipients,
        keys=tuple(DataKey(key_id, draw(st.integers(0, 2**31)), draw(copies)) for key_id in ids),
        tag=draw(st.binary(min_size=32, max_size=32)),
        signatures=tuple(Signature(reference, signatures[reference]) for reference in sorted(signatures)),
    )


@given(blocks())
def test_a_block_comes_back(block: MetadataBlock) -> None:
    """What is encoded decodes to the same block, with what is there for display."""
    found = MetadataBlock.decode(block.encode())

    assert found == block
    assert [recipient.about for recipient in found.recipients] == [recipient.about for recipient in block.recipients]


@given(blocks())
def test_each_copy_belongs_to_its_recipient(block: MetadataBlock) -> None:
    """The wrapped copies of a data key stand in the order of the recipients."""
    for key in block.keys:
        copies = key.wrapped(block.recipients)
        assert [copy.recipient for copy in copies] == [recipient.name for recipient in block.recipients]
        assert tuple(copy.ciphertext for copy in copies) == key.copies


@given(blocks(), st.data())
def test_decoding_is_strict(block: MetadataBlock, data: st.DataObject) -> None:
    """A block with characters changed, inserted or removed is refused, or is the one encoding of another block with other tagged bytes."""
    encoded: dict[str, Any] = dict(block.encode())
    name = data.draw(st.sampled_from(sorted(name for name in encoded if encoded[name])))
    texts = [encoded[name]] if isinstance(encoded[name], str) else list(encoded[name])
    number = data.draw(st.integers(0, len(texts) - 1))
    begin = data.draw(st.integers(0, len(texts[number])))
    end = data.draw(st.integers(begin, min(begin + 2, len(texts[number]))))
    new = data.draw(st.text("09afAF-_=+/ .Z\n", max_size=2))
    texts[number] = texts[number][:begin] + new + texts[number][end:]
    changed = {**encoded, name: texts[0] if isinstance(encoded[name], str) else texts}

    try:
        found = MetadataBlock.decode(changed)
    except FormatError:
        return
    assert found.encode() == changed
    assert (found.tagged() == block.tagged()) == (changed == encoded or name in ("tag", "signatures"))


@given(blocks(), blocks())
def test_two_blocks_are_tagged_apart(one: MetadataBlock, two: MetadataBlock) -> None:
    """What the tag covers tells blocks apart, but for the tag and the signatures."""

    def covered(block: MetadataBlock) -> dict[str, Any]:
        return {**block.encode(), "tag": "", "signatures": []}

    assert (one.tagged() == two.tagged()) == (covered(one) == covered(two))


@given(
    st.dictionaries(
        st.sampled_from(["format", "document", "environment", "generation", "encrypt", "recipients", "keys", "tag", "signatures", "x"]),
        st.text(max_size=50) | st.lists(st.text(max_size=50), max_size=3),
    ).map(lambda entries: {**sealed("yaml").required.encode(), **entries})
)
def test_anything_is_a_block_or_a_format_error(metadata: dict[str, Any]) -> None:
    """Whatever stands in the block is read, or is a FormatError."""
    try:
        found = MetadataBlock.decode(metadata)
    except FormatError:
        return
    assert found.encode() == metadata


def replaced(**entries: Any) -> dict[str, Any]:
    """Return a good block with other entries."""
    return {**sealed("yaml").required.encode(), **entries}


MANY = 10**6
BOMBS = {
    "recipients": replaced(recipients=["local x - - -"] * MANY),
    "keys": replaced(keys=["00000000 -"] * MANY),
    "signatures": replaced(signatures=["x"] * MANY),
    "patterns": replaced(encrypt=["a"] * MANY),
    "generation": replaced(generation="9" * MANY),
    "a large generation": replaced(generation=str(2**53)),
    "a document id": replaced(document="0" * MANY),
    "an environment": replaced(environment="a" * MANY),
    "a tag": replaced(tag="A" * MANY),
    "a pattern": replaced(encrypt=["*" * 65536]),
    "a slow pattern": replaced(encrypt=["*a" * 200]),
    "a recipient": replaced(recipients=["local " + "x" * 65536]),
    "spaces": replaced(recipients=[" " * 65536]),
    "a reference": replaced(recipients=["local " + "x" * 701 + " - - -"]),
    "a public key": replaced(recipients=[f"x509-x {base64url.encode(bytes(2049))} - - -"]),
    "copies": replaced(keys=["00000000 2026-01-01T00:00:00Z" + " A" * 65536]),
    "a copy": replaced(keys=["00000000 2026-01-01T00:00:00Z " + "A" * 4097]),
    "a signature": replaced(signatures=["0" * 64 + " " + "A" * 65536]),
    "a line": replaced(keys=["a" * 300_001]),
    "another format": replaced(format="securekit/config/2"),
    "an entry more": replaced(more=""),
    "a text for a list": replaced(keys="x"),
    "a list for a text": replaced(tag=["x"]),
    "no recipients": replaced(recipients=[]),
    "no keys": replaced(keys=[]),
    "recipients out of order": replaced(recipients=["local b - - -", "local a - - -"], keys=["00000000 2026-01-01T00:00:00Z QQ QQ"]),
    "a recipient twice": replaced(recipients=["local a - - -"] * 2, keys=["00000000 2026-01-01T00:00:00Z QQ QQ"]),
    "a signer twice": replaced(signatures=["0" * 64 + " QQ"] * 2),
    "a data key twice": replaced(keys=[*sealed("yaml").required.encode()["keys"]] * 2),
    "a lone surrogate": replaced(environment="\ud800", encrypt=["\ud800"]),
    "what is not printable": replaced(encrypt=["a\x1b"]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_out_of_bounds_is_refused_at_once(name: str) -> None:
    """Whatever is too long, too much or of another form is a FormatError within 50 ms and 32 MiB."""
    tracemalloc.start()
    begin = time.process_time()

    with pytest.raises(FormatError):
        MetadataBlock.decode(BOMBS[name])

    spent, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 0.05
    assert peak < 32 * 2**20


def test_random_texts_of_64_kib_cost_little(count: Count) -> None:
    """Random entries of 64 KiB are refused within 100 ms, with no error but ours."""
    noise = base64url.encode(b"".join(hkdf(bytes(32), f"noise {number}") for number in range(1536)))
    for name in replaced():
        for text in (noise, noise.replace("A", " "), noise.replace("B", "\n"), "*." * 32768):
            for value in (text, [text], text.split("C")):
                begin = time.process_time()
                with pytest.raises(FormatError):
                    MetadataBlock.decode(replaced(**{name: value}))
                assert time.process_time() - begin < 0.1
                count("hostile metadata refused", 1)


def test_an_environment_has_a_plain_name() -> None:
    """An environment's name is returned, and any other text is a ValueError."""
    assert check_environment("eu-1.production_b") == "eu-1.production_b"
    for name in ("", "-a", "a b", "a\n", "é", "a" * 65):
        with pytest.raises(ValueError, match="environment"):
            check_environment(name)


@pytest.mark.parametrize("form", ["yaml", "env"])
def test_a_subject_with_white_space_at_its_ends_is_written_without(form: str) -> None:
    """Whatever a certificate is called, its holder can be a recipient in every format, and the line has one form."""
    issued = issue(" web ", private_key("p256", 1))
    key = CertificateWrapper.from_pem(key=pem(issued.key), clock=clock())
    wrapper = CertificateWrapper.from_pem(issued.pem, clock=clock())
    document = encrypt(Document.parse(b"A=x" if form == "env" else b"A: x", format=form), patterns=["A"], recipients=[wrapper])

    assert document.open([key]).at(("A",)) == "x"
    with pytest.raises(FormatError):
        Recipient.decode("local x - - web ")
    with pytest.raises(FormatError):
        Recipient.decode("local x - -  web")


def test_a_recipient_is_called_by_its_subject() -> None:
    """People see a certificate's subject, or else the kind of wrapper."""
    assert Recipient.decode("local x - - CN=web 1").subject == "CN=web 1"
    assert Recipient.decode("passphrase - - - -").subject == "passphrase"
