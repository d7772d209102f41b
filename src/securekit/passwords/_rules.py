# SPDX-License-Identifier: Apache-2.0
"""What a new password has to be: NIST SP 800-63B-4, section 3.1.1.2. Nothing here is ever asked at a login.

There are no rules of composition (a digit, a sign, a capital), no expiry and no hints: the standard forbids them. What counts is
length, and that nobody finds the password in a list.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from securekit.exceptions import PasswordError

from ._blocklist import Blocklist, folded_text

__all__ = ["PasswordRules"]

LEAST = 8  # characters, where there is a second factor as well
LEAST_ALONE = 15  # characters, where the password is the only factor
MOST = 1024  # characters; the standard asks for 64 at least


class PasswordRules:
    """What a new password has to be.

    Args:
        second_factor: Whether there is another factor at every login: then 8 characters are enough, else 15.
        minimum: Characters; more than these, if you want more.
        maximum: Characters, 64 to 1,024.
        blocklist: Passwords that others use, too: refused. The commonest, if it is not given.

    Raises:
        ValueError: ``minimum`` or ``maximum`` is out of bounds.
    """

    def __init__(
        self, *, second_factor: bool = False, minimum: int | None = None, maximum: int = MOST, blocklist: Blocklist | None = None
    ) -> None:
        least = LEAST if second_factor else LEAST_ALONE
        self.minimum: int = least if minimum is None else minimum
        self.maximum: int = maximum
        if self.minimum < least or not 64 <= maximum <= MOST or self.minimum > maximum:  # noqa: PLR2004 - NIST SP 800-63B-4
            message = f"a password has {least} characters at least, and may have 64 to {MOST}: not {self.minimum} to {maximum}"
            raise ValueError(message)
        if blocklist is None:
            blocklist = Blocklist.common()
        self._blocklist = blocklist

    def check(self, password: str, *, words: Iterable[str] = ()) -> None:
        """Accept a new password.

        Args:
            password: As it was typed. Its characters are counted after NFKC, as code points.
            words: What only this user, or this service, would choose: the user's name, the service's. It is refused as a whole password.

        Raises:
            TypeError: ``password`` or a word is not ``str``.
            OSError: A list cannot be read.
            ValueError: A list is not whole.
            securekit.exceptions.PasswordError: It cannot be accepted. The message says why, for the person who chooses it.
        """
        try:
            fault = self.fault(password, words)
        except (OSError, TypeError, ValueError) as error:
            failure: Exception = error.with_traceback(None)
        else:
            failure = PasswordError(fault)
            if not fault:
                return
        del password, words  # raised out here, where no frame holds the password
        failure.__context__ = None
        raise failure

    def fault(self, password: str, words: Iterable[str] = ()) -> str:
        """Return why a new password cannot be accepted; empty if it can. Arguments as `check`.

        Raises:
            TypeError: ``password`` or a word is not ``str``.
            OSError: A list cannot be read.
            ValueError: A list is not whole.
        """
        try:
            return self._fault(password, tuple(words))
        except (OSError, TypeError, ValueError) as error:
            failure = error.with_traceback(None)  # whose frames hold the password, and the context's its digest
        del password, words
        failure.__context__ = None
        raise failure

    def _fault(self, password: str, words: tuple[str, ...]) -> str:
        for value, name in ((password, "password"), *((word, "a word") for word in words)):
            if not isinstance(value, str):
                message = f"{name} must be str, not {type(value).__name__}"
                raise TypeError(message)
        # What is much too long is not even normalised, and what is refused by its length is looked up nowhere.
        text = password if len(password) > self.maximum else unicodedata.normalize("NFKC", password)
        if len(text) > self.maximum:
            return f"a password has at most {self.maximum:,} characters"
        if len(text) < self.minimum:
            return f"a password has at least {self.minimum} characters"
        folded = text.casefold()
        if folded in {folded_text(word) for word in words}:
            return "this password is easily guessed, since it is a name: choose another one"
        if len(set(folded)) == 1:
            return "this password is one character again and again: choose another one"
        if folded in self._blocklist or text in self._blocklist:
            return "this password is in a list of passwords that others have used: choose another one"
        return ""
