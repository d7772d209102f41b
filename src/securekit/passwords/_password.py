# SPDX-License-Identifier: Apache-2.0
"""A password on its way through the library: in a holder, so that no frame that raises shows it."""

from __future__ import annotations

from typing import Final

from securekit.secret import Secretive

__all__ = ["MAX_LENGTH", "Password"]

MAX_LENGTH: Final = 4096  # characters, as in passlib; what is longer is nobody's password, and is not worth hashing


class Password(Secretive):
    """A password as UTF-8, if it can be one.

    Args:
        text: As the caller gave it.

    Attributes:
        utf8: The bytes; empty if the password is not acceptable.
        fault: Why it is not, or nothing.
        failure: What went wrong where that was asked, such as a list that cannot be read.

    Raises:
        TypeError: ``text`` is not ``str``.
    """

    __slots__ = ("failure", "fault", "utf8")

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            message = f"password must be str, not {type(text).__name__}"
            raise TypeError(message)
        self.utf8: bytes = b""
        self.fault: str = ""
        self.failure: Exception | None = None
        if not text:
            self.fault = "a password is not empty"
        elif len(text) > MAX_LENGTH:
            self.fault = f"a password has at most {MAX_LENGTH:,} characters"
        elif text.endswith("\0"):
            # HMAC fills its key up with NULs: PBKDF2 and scrypt, which use it, could not tell it from the password without them.
            self.fault = "a password does not end with a NUL"
        else:
            try:
                self.utf8 = text.encode()
            except UnicodeEncodeError:
                self.fault = "a password is text that UTF-8 can encode; this one has a lone surrogate"
