# SPDX-License-Identifier: Apache-2.0
"""The tree of exceptions is small, drawn as it is, and says nothing that it must not say."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from securekit import exceptions
from securekit.exceptions import (
    DecryptionError,
    PasswordError,
    SecureKitError,
    WrapperDeniedError,
    WrapperUnavailableError,
)

CLASSES = {
    name: value
    for name, value in vars(exceptions).items()
    if inspect.isclass(value) and issubclass(value, Exception) and not issubclass(value, Warning)
}
DRAWN = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+Error)\b")


def test_there_are_at_most_eighteen_classes_and_all_are_public() -> None:
    """A caller can learn the whole tree by heart."""
    assert sorted([*CLASSES, "SecurityWarning"]) == exceptions.__all__
    assert len(CLASSES) <= 18


def test_the_tree_in_the_docstring_is_the_real_tree() -> None:
    """What is drawn on top of the module is what `except` clauses can rely on."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for match in filter(None, map(DRAWN.match, (exceptions.__doc__ or "").splitlines())):
        depth = len(match["branch"]) // 4
        above[depth:] = [match["name"]]
        drawn[match["name"]] = above[depth - 1] if depth else "Exception"

    assert drawn == {name: value.__bases__[0].__name__ for name, value in CLASSES.items()}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_has_one_base_and_a_docstring(name: str) -> None:
    """Each class means one thing, and says which."""
    found = CLASSES[name]

    assert issubclass(found, SecureKitError)
    assert len(found.__bases__) == 1
    assert (found.__doc__ or "").rstrip().endswith(".")


def test_a_decryption_error_has_one_constant_message() -> None:
    """Nobody learns from the error whether the key, the context or the bytes were wrong."""
    assert str(DecryptionError()) == "decryption failed: wrong key, wrong context, or the message was changed"
    assert DecryptionError().args == (str(DecryptionError()),)
    assert not vars(DecryptionError())


def test_a_decryption_error_takes_no_details() -> None:
    """There is no way to say more by accident."""
    with pytest.raises(TypeError):
        DecryptionError("the key was wrong")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"DecryptionError"}))
def test_an_error_comes_back_equal_from_another_process(name: str) -> None:
    """Worker pools hand exceptions over by pickle."""
    error = CLASSES[name]("what to do next")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert copy.args == error.args


def test_a_decryption_error_comes_back_from_another_process() -> None:
    """A worker pool that hands over a failed decryption does not fail differently, or hang."""
    assert type(pickle.loads(pickle.dumps(DecryptionError()))) is DecryptionError


def test_a_password_error_has_one_message_unless_a_new_password_is_refused() -> None:
    """Nobody learns from the error of a login whether the user, the password or the stored hash was wrong."""
    assert str(PasswordError()) == "the password is not the one"
    assert PasswordError().args == (str(PasswordError()),)


def test_retryable_and_final_answers_are_not_of_one_kind() -> None:
    """Code that retries what is unavailable never retries what was denied."""
    assert not issubclass(WrapperDeniedError, WrapperUnavailableError)
    assert not issubclass(WrapperUnavailableError, WrapperDeniedError)
