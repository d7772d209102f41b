# SPDX-License-Identifier: Apache-2.0
"""How a process proves to Vault who it is, and the token that it gets for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from securekit._primitives.rng import random_bytes
from securekit._wire.key_files import read_secret_text
from securekit.exceptions import KeyFileError
from securekit.secret import Secretive

from ._answer import mapping, member, number
from ._call import calling
from ._failure import Outcome, VaultFailureError

__all__ = [
    "KUBERNETES_TOKEN",
    "AppRole",
    "ClientCertificate",
    "JwtFile",
    "KubernetesAccount",
    "Login",
    "StaticToken",
    "TokenFile",
    "Tokens",
]

KUBERNETES_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_MAX_JWT = 64 * 1024  # bytes
_RENEW_AT = 2 / 3  # of the lease
_JITTER = 0.1  # of it, so that hosts that started together do not renew together
_CLOSE_TO_END = 5.0  # seconds, at most, before a token's end at which it is not shown any more

Client = Any
"""``hvac.Client``, which has no types."""


class Login(Protocol):
    """Gets a token. Security property: what it shows to Vault stands in no repr and no error."""

    renews: bool
    """Whether asking again can give another token."""

    def __call__(self, client: Client, /) -> dict[str, Any]:
        """Return the ``auth`` part of Vault's answer: ``client_token``, ``lease_duration`` in seconds, ``renewable``."""


class StaticToken(Secretive):
    """A token that the caller has."""

    renews = False

    def __init__(self, token: str) -> None:
        self._token = _printable(token, "token")

    def __call__(self, client: Client) -> dict[str, Any]:
        return _own(client, self._token)


class TokenFile(Secretive):
    """A token in a guarded file, such as the sink of Vault's agent, which writes a new one there now and then."""

    renews = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def __call__(self, client: Client) -> dict[str, Any]:
        return _own(client, _printable(read_secret_text(self._path).strip(), f"token in {self._path}"))


class AppRole(Secretive):
    """A role and a secret id, in the clear or wrapped; from a guarded file it is read anew at each login."""

    renews = True

    def __init__(
        self, role_id: str, *, secret_id: str | None, secret_id_file: str | os.PathLike[str] | None, wrapped: bool, mount: str
    ) -> None:
        if (secret_id is None) == (secret_id_file is None):
            message = "with role_id goes one of secret_id and secret_id_file"
            raise ValueError(message)
        self._role_id = role_id
        self._secret_id = secret_id
        self._file = Path(secret_id_file) if secret_id_file is not None else None
        self._wrapped = wrapped
        self._mount = mount
        self._unwrapped: tuple[str, str] | None = None

    def __call__(self, client: Client) -> dict[str, Any]:
        given = self._secret_id if self._file is None else read_secret_text(self._file).strip()
        given = _printable(given or "", "secret id")
        if self._wrapped:
            # A wrapping token opens once; what was in it is kept for the next login, until another one is given.
            if self._unwrapped is None or self._unwrapped[0] != given:
                self._unwrapped = (given, _opened(client, given))
            given = self._unwrapped[1]
        return _auth(client.auth.approle.login(role_id=self._role_id, secret_id=given, use_token=False, mount_point=self._mount))


class KubernetesAccount(Secretive):
    """The service account of a Kubernetes pod."""

    renews = True

    def __init__(self, role: str, *, token_file: str | os.PathLike[str] = KUBERNETES_TOKEN, mount: str) -> None:
        self._role = role
        self._file = Path(token_file)
        self._mount = mount

    def __call__(self, client: Client) -> dict[str, Any]:
        return _auth(client.auth.kubernetes.login(role=self._role, jwt=_read_jwt(self._file), use_token=False, mount_point=self._mount))


class JwtFile(Secretive):
    """A JWT or OIDC token in a file that a platform writes, such as a CI's or a cloud's."""

    renews = True

    def __init__(self, role: str, *, token_file: str | os.PathLike[str] | None, mount: str) -> None:
        if token_file is None:
            message = "with jwt_role goes jwt_file, the file that has the token"
            raise ValueError(message)
        self._role = role
        self._file = Path(token_file)
        self._mount = mount

    def __call__(self, client: Client) -> dict[str, Any]:
        return _auth(client.auth.jwt.jwt_login(role=self._role, jwt=_read_jwt(self._file), use_token=False, path=self._mount))


class ClientCertificate(Secretive):
    """The TLS certificate that the connection shows anyway."""

    renews = True

    def __init__(self, role: str, *, shown: bool, mount: str) -> None:
        if not shown:
            message = "with cert_role goes cert, the files of the certificate and its key"
            raise ValueError(message)
        self._role = role
        self._mount = mount

    def __call__(self, client: Client) -> dict[str, Any]:
        return _auth(client.adapter.post(f"/v1/auth/{self._mount}/login", json={"name": self._role} if self._role else {}))


@dataclass(frozen=True, slots=True, repr=False)
class _Token:
    """A token and its times, as of `time.monotonic`; one that never ends has infinities. It is not shown to Vault after ``ends_at``."""

    value: str
    renew_at: float
    ends_at: float
    renewable: bool


class Tokens(Secretive):
    """The one current token of a connection: got when it is needed, renewed in time, replaced when it is dead.

    Args:
        login: Gets a token.
        client: hvac's.
        anonymous: Runs what must not show a token, such as a login.
        with_token: Runs what must show a given token, such as its renewal.
    """

    __slots__ = ("_anonymous", "_client", "_lock", "_login", "_token", "_with_token")

    def __init__(
        self,
        login: Login,
        client: Client,
        *,
        anonymous: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]],
        with_token: Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]],
    ) -> None:
        self._login = login
        self._client = client
        self._anonymous = anonymous
        self._with_token = with_token
        self._token: _Token | None = None
        self._lock = Lock()

    @property
    def renews(self) -> bool:
        """Whether a dead token can be replaced."""
        return self._login.renews

    def current(self) -> str:
        """Return a token that is good for now.

        While one thread renews it, others go on with it.

        Raises:
            VaultFailureError: There is none, and none to be had.
        """
        now = time.monotonic()
        token = self._token
        if token is not None and now < token.renew_at:
            return token.value
        alive = token is not None and now < token.ends_at
        with self._turn(wait=not alive) as mine:
            if not mine and token is not None:
                return token.value
            token = self._token
            if token is None or now >= token.renew_at:
                token = self._renewed(token) if token is not None and alive else self._new()
            return token.value

    def replace(self, dead: str) -> str:
        """Return another token than ``dead``, which Vault does not know any more. Many that find out at once log in once.

        Raises:
            VaultFailureError: The login failed.
        """
        with self._turn(wait=True):
            token = self._token
            if token is None or token.value == dead:
                self._token = None
                token = self._new()
            return token.value

    def is_dead(self, token: str) -> bool:
        """Ask Vault whether it knows the token, after it has said no to something."""
        try:
            self._with_token(token, self._client.auth.token.lookup_self)
        except VaultFailureError as failure:
            return failure.outcome is Outcome.DENIED
        return False

    def _new(self) -> _Token:
        try:
            auth = self._anonymous(lambda: self._login(self._client))
        except KeyFileError as error:
            raise VaultFailureError(Outcome.DENIED, f"no login to Vault: {error}", sent=False) from None
        except VaultFailureError as failure:
            if failure.outcome is Outcome.UNAVAILABLE:
                raise
            message = f"Vault refused the login ({type(self._login).__name__}): check the role, the credential and the mount"
            raise VaultFailureError(Outcome.DENIED, message, reasons=failure.reasons) from None
        self._token = _timed(auth)
        return self._token

    def _renewed(self, token: _Token) -> _Token:
        """Renew a token that is still good; where that is not possible, log in; where Vault is away, go on with it."""
        call = calling.get()
        whole, now = call.deadline, time.monotonic()
        call.deadline = now + (whole - now) / 3  # so that the call has time, whatever the renewal comes to
        try:
            if token.renewable:
                self._token = _timed(_auth(self._with_token(token.value, self._client.auth.token.renew_self)))
            elif self._login.renews:
                self._new()
        except VaultFailureError as failure:
            if failure.outcome is not Outcome.UNAVAILABLE and self._login.renews:
                return self._new()
            now = time.monotonic()
            self._token = _Token(token.value, now + (token.ends_at - now) * _JITTER, token.ends_at, token.renewable)
        finally:
            call.deadline = whole
        return self._token or token

    @contextmanager
    def _turn(self, *, wait: bool) -> Iterator[bool]:
        """Let one thread at a time change the token; the others wait for it, or learn at once that it is not their turn."""
        mine = self._lock.acquire(blocking=False) or (
            wait and self._lock.acquire(timeout=max(0.0, calling.get().deadline - time.monotonic()))
        )
        if wait and not mine:
            raise VaultFailureError(Outcome.UNAVAILABLE, "Vault did not answer in time: another thread is still logging in", sent=False)
        try:
            yield mine
        finally:
            if mine:
                self._lock.release()


def _timed(auth: dict[str, Any]) -> _Token:
    lease = number(auth.get("lease_duration"))
    now = time.monotonic()
    if lease <= 0:  # a root token never ends
        return _Token(str(auth["client_token"]), float("inf"), float("inf"), renewable=False)
    jitter = 1 - _JITTER * int.from_bytes(random_bytes(4)) / 2**32
    ends_at = now + lease - min(_CLOSE_TO_END, lease * _JITTER)
    return _Token(str(auth["client_token"]), now + lease * _RENEW_AT * jitter, ends_at, bool(auth.get("renewable")))


def _auth(answer: object) -> dict[str, Any]:
    auth = mapping(answer, "auth")
    token = auth.get("client_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        del token
        message = "Vault's answer to the login has no token"
        raise VaultFailureError(Outcome.UNAVAILABLE, message)
    return auth


def _own(client: Client, token: str) -> dict[str, Any]:
    """Return what is known of a token that was given. It may be not allowed to look at itself: then its end is not known."""
    call = calling.get()
    call.token = token
    try:
        data = mapping(client.auth.token.lookup_self(), "data")
    except VaultFailureError as failure:
        if failure.outcome is Outcome.UNAVAILABLE:
            raise
        data = {}
    finally:
        call.token = None
    return {"client_token": token, "lease_duration": data.get("ttl", 0), "renewable": data.get("renewable", False)}


def _opened(client: Client, wrapping_token: str) -> str:
    """Return the secret id in a response-wrapping token, which opens itself: no other token is needed."""
    call = calling.get()
    call.token = wrapping_token
    try:
        secret_id = member(client.sys.unwrap(), "data", "secret_id")
    finally:
        call.token = None
    if not isinstance(secret_id, str):
        message = "there is no secret id in the wrapping token"
        raise VaultFailureError(Outcome.REFUSED, message)
    return _printable(secret_id, "secret id")


def _read_jwt(path: Path) -> str:
    """Return the token in a file of the platform, whose modes are the platform's."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_JWT + 1)
    except OSError as error:
        message = f"cannot read the token file {path}: {error.strerror}"
        raise KeyFileError(message) from None
    return _printable(data.decode("ascii", errors="replace").strip(), f"token in {path}")


def _printable(text: str, what: str) -> str:
    """Return ``text`` if a header can hold it; the HTTP library's own error would show it."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        del text
        message = f"the {what} is empty, or has signs that no token has"
        raise KeyFileError(message)
    return text
