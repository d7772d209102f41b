# SPDX-License-Identifier: Apache-2.0
"""Tokens: one text each, bound to their place, and recognised wherever they stand."""

from __future__ import annotations

import re
import time
import tracemalloc
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.config._token import DocumentKey, Token, foreign, is_token, must_open, parse_token
from securekit.config._tree import Path, Scalar
from securekit.config._value import MAX_VALUE
from securekit.exceptions import DecryptionError, FormatError
from tests.config.test_value import SCALARS, TEXTS, same
from tests.conftest import Count

PATHS = st.lists(TEXTS | st.integers(0, 10**6), max_size=5).map(tuple)


@dataclass(frozen=True)
class Place:
    """What a token is bound to."""

    path: Path = ("db", "password")
    value: bytes = bytes(32)
    id: str = "0a0b0c0d"
    document: bytes = bytes(16)
    environment: str = "production"

    @property
    def key(self) -> DocumentKey:
        return DocumentKey(self.value, self.id, document=self.document, environment=self.environment)


HERE = Place()
TOKEN = str(HERE.key.seal(HERE.path, "secret"))


def opened(text: str) -> Scalar:
    """Return what a token's text holds."""
    token = parse_token(text)
    return must_open({HERE.id: HERE.key}, token).open(HERE.path, token)


@given(PATHS, SCALARS)
def test_a_value_opens_where_it_was_sealed(path: Path, value: Scalar) -> None:
    """Any value of any path comes back, through the token's text."""
    token = HERE.key.seal(path, value)

    assert is_token(str(token))
    assert parse_token(str(token)) == token
    assert same(HERE.key.open(path, token), value)


@pytest.mark.parametrize(
    "other",
    [
        replace(HERE, path=("db", "Password")),
        replace(HERE, path=("db",)),
        replace(HERE, path=("db", "password", "x")),
        replace(HERE, path=("db.password",)),
        replace(HERE, path=()),
        replace(HERE, value=b"\x01" + bytes(31)),
        replace(HERE, id="0a0b0c0e"),
        replace(HERE, document=b"\x01" + bytes(15)),
        replace(HERE, environment="productio"),
    ],
)
def test_a_token_opens_nowhere_else(other: Place) -> None:
    """Another path, key, key id, document or environment is the one decryption error."""
    with pytest.raises(DecryptionError) as caught:
        other.key.open(other.path, parse_token(TOKEN))
    assert (caught.value.args, caught.value.__cause__, caught.value.__context__) == (DecryptionError().args, None, None)


@pytest.mark.parametrize(("one", "two"), [("0", 0), ("i0", 0), ("k", "")])
def test_an_index_is_no_key(one: str | int, two: str | int) -> None:
    """Segments that are written alike are told apart."""
    with pytest.raises(DecryptionError):
        HERE.key.open(("a", two), HERE.key.seal(("a", one), "x"))


def test_a_data_key_that_is_not_there_is_the_decryption_error() -> None:
    """A token is opened with the key that it names, and with no other."""
    assert must_open({HERE.id: HERE.key}, parse_token(TOKEN)).id == HERE.id
    with pytest.raises(DecryptionError):
        must_open({"00000000": HERE.key}, parse_token(TOKEN))


def test_the_integrity_tag_is_of_its_key_and_document() -> None:
    """Another document or data key has another tag; the key's id and place are in the document already."""
    tags = {key.tag(body) for key in (HERE.key, replace(HERE, value=bytes(31) + b"x").key) for body in (b"", b"a")}

    assert len(tags) == 4
    assert HERE.key.tag(b"a") == replace(HERE, id="00000000").key.tag(b"a")


def test_every_changed_bit_of_a_token_is_refused(count: Count) -> None:
    """A token with one bit of one character flipped is no token, or does not open."""
    flips = 0
    for place in range(len(TOKEN)):
        for bit in range(7):
            text = TOKEN[:place] + chr(ord(TOKEN[place]) ^ 1 << bit) + TOKEN[place + 1 :]
            flips += 1
            if is_token(text):
                with pytest.raises((FormatError, DecryptionError)):
                    opened(text)
            else:
                assert place < len("ENC[sk1,")
    count("bit flips of tokens refused", flips)


@given(st.text() | st.from_regex(r"ENC\[sk1,[0-9a-f]{8},[A-Za-z0-9_=-]*\]?\n?", fullmatch=True))
def test_parsing_is_strict(text: str) -> None:
    """A text is the one form of a token, or a format error."""
    try:
        token = parse_token(text)
    except FormatError:
        return
    assert str(token) == text


@pytest.mark.parametrize("size", [0, 72, 87, 89, 72 + MAX_VALUE + 17, 72 + MAX_VALUE + 32])
def test_a_token_of_an_impossible_length_is_refused(size: int) -> None:
    """What is sealed is one to 65,537 steps of 16 bytes."""
    with pytest.raises(FormatError):
        parse_token(str(Token(HERE.id, bytes(size))))


def test_the_longest_token_is_read() -> None:
    """A value of 1 MiB fits."""
    token = HERE.key.seal(HERE.path, "x" * (MAX_VALUE - 1))

    assert parse_token(str(token)) == token


def test_hostile_texts_cost_little(count: Count) -> None:
    """64 KiB of anything are parsed or refused in 100 ms and 64 MiB, with no error but ours."""
    size = 64 * 1024
    hostile = [
        "ENC[sk1,0a0b0c0d," + tail
        for tail in ("A" * size, "A" * size + "]", "]" * size, "=" * size + "]", "\ud800" * size + "]", "é" * size)
    ]
    hostile += ["ENC[sk1," * (size // 8), " " * size, "\n" * size + "ENC", "encrypted:" + "x" * size, "$ANSIBLE" * (size // 8)]
    for text in hostile:
        tracemalloc.start()
        begin = time.process_time()
        foreign(text)
        with pytest.raises(FormatError):
            parse_token(text)
        assert time.process_time() - begin < 0.1
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
        tracemalloc.stop()
    count("hostile texts refused", len(hostile))


@given(st.text(), st.sampled_from([TOKEN, "ENC[sk1,", "ENC[", "$ANSIBLE_VAULT;", "encrypted:" + "aB3+/=xy" * 8, "encrypted:x"]), st.text())
def test_ciphertexts_within_a_text_are_seen(before: str, text: str, behind: str) -> None:
    """A text that holds a token, or that begins as another tool's ciphertext, is foreign; and no other is."""
    whole = before + text + behind

    expected = "ENC[sk1," in whole or re.match(r"(ENC\[|\$ANSIBLE_VAULT;|encrypted:[A-Za-z0-9+/=]{64})", whole.lstrip()) is not None
    assert foreign(whole) is expected


@pytest.mark.parametrize("value", [None, 1, b"ENC[sk1,", True])
def test_only_texts_are_tokens(value: Scalar) -> None:
    """A value that is no text is neither a token nor foreign."""
    assert not is_token(value)
    assert not foreign(value)
