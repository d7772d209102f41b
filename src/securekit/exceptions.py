# SPDX-License-Identifier: Apache-2.0
"""Every exception that securekit raises on purpose.

::

    SecureKitError
    ├── DecryptionError            wrong key, wrong context or changed bytes: deliberately not told apart
    ├── FormatError                not one of our formats, or a bound of it is exceeded
    ├── KeyNotFoundError           no keyring at that path, or no key of that id in it
    ├── KeyStateError              the key exists, but its state forbids this
    ├── KeyFileError               a key file that is not guarded well enough to be read
    ├── CertificateError           a certificate that must not be wrapped to
    ├── ConfigError                a configuration document is not as its policy, its environment or its reader wants it
    ├── EnvelopeError              a sealed file cannot be rewrapped, or its two headers disagree
    ├── RotationError              a rotation cannot start, go on, or be proven complete
    ├── PasswordError              the password is not the one, or cannot be accepted as a new one
    │   └── PasswordBusyError      too many passwords are being hashed at the moment; retryable
    ├── KeyStoreError              the place where keyrings live failed
    │   ├── ConflictError          somebody else wrote first; read again and retry
    │   └── KeyStoreUnavailableError   the store cannot be reached now; retryable
    └── WrapperError               whoever holds the KEK failed
        ├── WrapperUnavailableError    cannot be reached, sealed, overloaded; retryable
        └── WrapperDeniedError         the answer was no; never retried, never served from stale cache

Bugs of the caller are ``TypeError`` and ``ValueError``. No message, attribute or repr of these classes
holds a key, a plaintext, a password, a token or a hash.
"""

from __future__ import annotations

__all__ = [
    "CertificateError",
    "ConfigError",
    "ConflictError",
    "DecryptionError",
    "EnvelopeError",
    "FormatError",
    "KeyFileError",
    "KeyNotFoundError",
    "KeyStateError",
    "KeyStoreError",
    "KeyStoreUnavailableError",
    "PasswordBusyError",
    "PasswordError",
    "RotationError",
    "SecureKitError",
    "SecurityWarning",
    "WrapperDeniedError",
    "WrapperError",
    "WrapperUnavailableError",
]


class SecureKitError(Exception):
    """The root of all exceptions of this library."""


class DecryptionError(SecureKitError):
    """The message does not decrypt with this key and this context.

    Wrong key, wrong context and changed bytes are one error with one constant message, so that nobody
    who can submit ciphertexts learns which it was. It is always raised ``from None``.
    """

    def __init__(self) -> None:
        super().__init__("decryption failed: wrong key, wrong context, or the message was changed")

    def __reduce__(self) -> tuple[type[DecryptionError], tuple[()]]:
        """Come back from another process as it went: it takes no arguments."""
        return type(self), ()


class FormatError(SecureKitError):
    """The bytes are not in a securekit format, or exceed a bound of it. The message speaks of public bytes only."""


class KeyNotFoundError(SecureKitError):
    """There is no keyring at the path, or no key with the id in the keyring."""


class KeyStateError(SecureKitError):
    """The key exists, but its state (disabled, destroyed, expired …) forbids the operation."""


class KeyFileError(SecureKitError):
    """A private key or KEK file is missing, malformed, or readable or replaceable by others. Says the repair."""


class CertificateError(SecureKitError):
    """A certificate, or the private key beside it, must not be used for wrapping or signing; or a signature does not verify. Says why."""


class ConfigError(SecureKitError):
    """A configuration document, or its trust, is not as it has to be: who signed, what is in clear, which environment. Says what to do."""


class EnvelopeError(SecureKitError):
    """A sealed message cannot be rewrapped as asked, or its headers disagree. What was there before is intact."""


class RotationError(SecureKitError):
    """A rotation cannot start or go on, or its proof is missing: another plan, a damaged journal, a key still needed. Says what to do."""


class PasswordError(SecureKitError):
    """The password is not the one; or, where a new one is given, it cannot be accepted, and the message says why.

    Every verification that fails has the one message that stands here, whatever the reason: another password, no such user, a stored
    hash that cannot be read. It is always raised ``from None``.
    """

    def __init__(self, message: str = "the password is not the one") -> None:
        super().__init__(message)


class PasswordBusyError(PasswordError):
    """So many passwords are being hashed that another one would exceed the budget. Nothing was verified; try again in a moment."""


class KeyStoreError(SecureKitError):
    """The keystore could not do what was asked; what it held before is intact."""


class ConflictError(KeyStoreError):
    """The document changed between the read and the write. Nothing was written; read again and retry."""


class KeyStoreUnavailableError(KeyStoreError):
    """The keystore cannot be reached at the moment. Retryable."""


class WrapperError(SecureKitError):
    """The holder of the KEK could not wrap or unwrap."""


class WrapperUnavailableError(WrapperError):
    """The holder of the KEK cannot be reached at the moment. Retryable."""


class WrapperDeniedError(WrapperError):
    """The holder of the KEK said no. Never retried, and never answered from a stale cache."""


class SecurityWarning(UserWarning):
    """Something works, and is weaker than it should be. Not part of the tree: it is never raised by default."""
