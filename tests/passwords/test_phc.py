# SPDX-License-Identifier: Apache-2.0
"""PHC strings have one encoding each, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.exceptions import FormatError
from securekit.passwords._phc import Phc

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32)
NUMBERS = st.integers(0, 9_999_999_999)
GOOD = "$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"


@given(NAMES, st.dictionaries(NAMES, NUMBERS, max_size=8), st.binary(max_size=64), st.binary(max_size=64), st.none() | NUMBERS)
def test_what_was_written_is_read(scheme: str, parameters: dict[str, int], salt: bytes, digest: bytes, version: int | None) -> None:
    """Every string says what it was made of."""
    text = Phc(scheme, parameters, salt=salt, digest=digest, version=version).text()

    read = Phc.parse(text)

    assert (read.scheme, read.parameters, read.salt, read.digest, read.version) == (scheme, parameters, salt, digest, version)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "$$$$",
        "$a$$AAAA$AAAA",
        "x" + GOOD,
        GOOD + "\n",
        GOOD + "$AAAA",
        GOOD + "=",
        GOOD.replace("A$", "B$"),  # trailing bits
        GOOD.replace("AAAA", "AA A"),
        GOOD.replace("$AAAA", "$AA-_"),
        GOOD.replace("v=19", "v=019"),
        GOOD.replace("v=19", "v=+19"),
        GOOD.replace("v=19", "v=1_9"),
        GOOD.replace("v=19", "v=²"),
        GOOD.replace("v=19", "v="),
        GOOD.replace("v=19", "v=19$v=19"),
        GOOD.replace("m=65536", "m=2147483648000"),
        GOOD.replace("t=3", "m=3"),
        GOOD.replace("t=3", "t"),
        GOOD.replace("t=3", "=3"),
        GOOD.replace("t=3", "T=3"),
        GOOD.replace("t=3", "t=3,"),
        GOOD.replace("t=3", ",".join(f"x{n}=3" for n in range(8))),
        GOOD.replace("argon2id", "Argon2id"),
        GOOD.replace("argon2id", "a" * 33),
        "$a$" + "A" * 1020,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """No other spelling of the numbers, the base 64 or the parts; and the error does not quote it."""
    with pytest.raises(FormatError) as caught:
        Phc.parse(text)

    assert "AAAA" not in str(caught.value)
