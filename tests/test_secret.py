# SPDX-License-Identifier: Apache-2.0
"""A secret is shown only when asked for by name."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.secret import Secret, Secretive

CANARY = "correct horse battery staple"


@given(st.binary() | st.text() | st.integers() | st.none())
def test_a_secret_reveals_the_very_value_it_was_given(value: object) -> None:
    """The value itself comes back, not a copy."""
    assert Secret(value).reveal() is value


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r:>40}".format,
        "{:>40}".format,
        "{:s}".format,
        lambda secret: f"{secret}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031  # Old formatting is one of the ways to leak.
        lambda secret: str([secret]),
        lambda secret: str({"password": secret}),
        lambda secret: repr(_Account(secret)),
    ],
)
@pytest.mark.parametrize("value", [CANARY, CANARY.encode()], ids=["str", "bytes"])
def test_no_way_of_showing_a_secret_shows_it(value: str | bytes, show: Callable[[object], str]) -> None:
    """Representations, format strings and containers are all redacted."""
    shown = show(Secret(value))

    assert CANARY not in shown
    assert "********" in shown


def test_a_secret_does_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Logging a secret logs its redacted form."""
    logging.getLogger(__name__).warning("password is %s, or %r", Secret(CANARY), Secret(CANARY))

    assert CANARY not in caplog.text
    assert "********" in caplog.text


def test_a_secret_does_not_reach_a_traceback_with_local_variables() -> None:
    """Error trackers that show local variables show the redacted form."""

    def fail(password: Secret[str]) -> None:
        raise RuntimeError(password)

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(CANARY))

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert CANARY not in shown.replace(f'CANARY = "{CANARY}"', "")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    """No protocol of pickle writes a secret to a cache or a queue."""
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        pickle.dumps(Secret(CANARY), protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_secret_is_not_copied(duplicate: Callable[[object], object]) -> None:
    """There is one place that holds the value."""
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        duplicate(Secret(CANARY))


def test_a_secret_is_not_written_as_json() -> None:
    """An API does not answer with a secret by accident."""
    with pytest.raises(TypeError):
        json.dumps({"password": Secret(CANARY)})


def test_a_secret_is_not_hashable() -> None:
    """A secret cannot become a key of a dictionary or a cache."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(CANARY))


def test_a_secret_has_no_dictionary() -> None:
    """`vars`, which serialisers use, finds nothing."""
    with pytest.raises(TypeError):
        vars(Secret(CANARY))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("ü", "ü", True),
        ("a", "", False),
        (b"a", b"a", True),
        (b"a", b"ab", False),
        ("a", b"a", False),
        (1, 1, True),
        (1, 2, False),
        (None, None, True),
    ],
)
def test_secrets_are_equal_if_their_values_are(one: object, other: object, equal: bool) -> None:
    """Comparison looks at the values, of whatever type."""
    assert (Secret(one) == Secret(other)) is equal


def test_a_secret_is_not_equal_to_its_bare_value() -> None:
    """A comparison cannot be used to take the wrapping off unnoticed."""
    assert Secret("a") != "a"


def test_a_class_that_holds_secrets_is_redacted_by_its_base() -> None:
    """Keyrings and wrappers get the same treatment by inheritance."""
    holder = _Holder()

    assert repr(holder) == "<_Holder ********>"
    with pytest.raises(TypeError, match="_Holder holds a secret"):
        pickle.dumps(holder)
    with pytest.raises(TypeError, match="_Holder holds a secret"):
        copy.deepcopy(holder)


class _Holder(Secretive):
    def __init__(self) -> None:
        self.key = CANARY


@dataclass
class _Account:
    password: Secret[str | bytes] | object
