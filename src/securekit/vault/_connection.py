# SPDX-License-Identifier: Apache-2.0
"""One Vault or OpenBao, and how this process talks to it: who it is, how long it waits, and when it does not ask at all."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from securekit._primitives.process import process
from securekit._primitives.rng import random_bytes
from securekit._wire.key_files import read_key_file
from securekit.exceptions import WrapperError
from securekit.secret import Secretive

from ._answer import member, number
from ._call import Call, calling
from ._failure import Outcome, VaultFailureError
from ._login import KUBERNETES_TOKEN, AppRole, ClientCertificate, JwtFile, KubernetesAccount, Login, StaticToken, TokenFile, Tokens

__all__ = ["VaultConnection", "VaultEvent", "VaultHealth"]

T = TypeVar("T")
FilePath = str | os.PathLike[str]
Client = Any
"""``hvac.Client``, which has no types."""

_log = logging.getLogger("securekit.vault")
_LOGINS = {"token", "token_file", "role_id", "kubernetes_role", "jwt_role", "cert_role"}
_TRIES = 3
_BACKOFF = 0.1  # seconds before the second try, at most; twice as many before the third
_TOKEN_FILE = ".vault-token"  # noqa: S105 - a file's name, where Vault's own command line keeps it


@dataclass(frozen=True, slots=True)
class VaultEvent:
    """One call to Vault, however it ended. No token, key or plaintext is in it.

    Attributes:
        operation: What was asked for, such as ``"transit/decrypt"``.
        target: The key or path that it is about.
        seconds: How long it took, with every try.
        outcome: ``"done"``, ``"unavailable"``, ``"denied"``, ``"missing"`` or ``"refused"``.
        tries: How often it was sent, 0 if it was not: Vault did not answer a moment ago.
    """

    operation: str
    target: str
    seconds: float
    outcome: str
    tries: int


@dataclass(frozen=True, slots=True)
class VaultHealth:
    """What Vault says of itself.

    Attributes:
        initialized: Whether it has ever been set up.
        sealed: Whether it has to be unsealed before it can do anything.
        standby: Whether another server of its cluster is the active one.
        version: Of the server.
        clock_skew: Seconds that its clock is ahead of this host's.
    """

    initialized: bool
    sealed: bool
    standby: bool
    version: str
    clock_skew: float


class VaultConnection(Secretive):
    """A connection to HashiCorp Vault or OpenBao. Thread-safe, and safe to use on both sides of a fork.

    Nothing is sent before the first call. TLS is verified always; plain ``http`` is accepted for this machine itself alone.
    Redirects are never followed.

    Args:
        address: For example ``https://vault.example:8200``.
        token: A token; or
        token_file: the guarded file that has one, read anew when Vault does not know the last one: a sink of Vault's agent; or
        role_id: an AppRole, with
        secret_id: its secret id, or
        secret_id_file: the guarded file that has it, read anew at each login.
        secret_id_wrapped: The secret id is a response-wrapping token.
        kubernetes_role: A role of Kubernetes' service accounts; or
        jwt_role: a role of JWT or OIDC tokens, with
        jwt_file: the file that has one; or
        cert_role: a role of TLS certificates, with ``cert``; an empty text lets Vault find the role.
        auth_mount: Where that way to log in is mounted; its usual place if None.
        namespace: As Vault has it.
        ca: PEM file of the authorities that are believed; the system's if None.
        cert: PEM files of a client certificate and its key, which is guarded.
        deadline: Seconds for one call, with every try.
        tries: How often a call that may be repeated is tried, 1 to 3.
        cooldown: Seconds after a call without an answer during which no other is made, or longer, up to a minute, if Vault asks for
            that; 0 for none.
        on_event: Called with every `VaultEvent`; an exception from it is logged.

    Raises:
        ValueError: The address is neither https nor this machine's; or not exactly one way to log in is given.
        securekit.exceptions.KeyFileError: The key of the client certificate is missing or not guarded.
        securekit.exceptions.WrapperError: hvac is not installed.
    """

    __slots__ = (
        "_ca",
        "_cert",
        "_client",
        "_cooldown",
        "_deadline",
        "_down_until",
        "_event",
        "_login",
        "_namespace",
        "_probe",
        "_process",
        "_tokens",
        "_tries",
        "address",
    )

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        token_file: FilePath | None = None,
        role_id: str | None = None,
        secret_id: str | None = None,
        secret_id_file: FilePath | None = None,
        secret_id_wrapped: bool = False,
        kubernetes_role: str | None = None,
        jwt_role: str | None = None,
        jwt_file: FilePath | None = None,
        cert_role: str | None = None,
        auth_mount: str | None = None,
        namespace: str | None = None,
        ca: FilePath | None = None,
        cert: tuple[FilePath, FilePath] | None = None,
        deadline: float = 10.0,
        tries: int = _TRIES,
        cooldown: float = 5.0,
        on_event: Callable[[VaultEvent], None] | None = None,
    ) -> None:
        self.address = _checked_address(address)
        self._login = _only(
            {
                "token": token is not None and (lambda: StaticToken(token)),
                "token_file": token_file is not None and (lambda: TokenFile(token_file)),
                "role_id": role_id is not None
                and (
                    lambda: AppRole(
                        role_id,
                        secret_id=secret_id,
                        secret_id_file=secret_id_file,
                        wrapped=secret_id_wrapped,
                        mount=auth_mount or "approle",
                    )
                ),
                "kubernetes_role": kubernetes_role is not None
                and (lambda: KubernetesAccount(kubernetes_role, token_file=jwt_file or KUBERNETES_TOKEN, mount=auth_mount or "kubernetes")),
                "jwt_role": jwt_role is not None and (lambda: JwtFile(jwt_role, token_file=jwt_file, mount=auth_mount or "jwt")),
                "cert_role": cert_role is not None and (lambda: ClientCertificate(cert_role, shown=bool(cert), mount=auth_mount or "cert")),
            }
        )
        if deadline <= 0 or not 1 <= tries <= _TRIES or cooldown < 0:
            message = f"deadline must be more than 0 seconds, cooldown at least 0, and tries 1 to {_TRIES}"
            raise ValueError(message)
        self._ca = os.fspath(ca) if ca is not None else None
        self._cert = (os.fspath(cert[0]), os.fspath(cert[1])) if cert is not None else None
        if cert is not None:
            read_key_file(cert[1])  # here, where its guard is checked; TLS reads it again
        self._namespace = namespace
        self._deadline = deadline
        self._tries = tries
        self._cooldown = cooldown
        self._event = on_event
        self._down_until = 0.0
        self._connect()

    @classmethod
    def from_client(cls, client: Client, **options: Any) -> VaultConnection:  # noqa: ANN401 - as the constructor
        """Return a connection to where a ready ``hvac.Client`` points: with its address, token, namespace, authority and certificate.

        Nothing is sent through the client itself, whose own transport follows redirects and has no one deadline.

        Args:
            client: It has a token, and verifies TLS.
            options: Arguments of the constructor; they count before what the client has.

        Raises:
            ValueError: The client does not verify TLS, or has no token and no other way to log in is given.
        """
        if client.session.verify is False:
            message = "this client does not verify TLS, which is verified always: give it the authority with verify=FILE"
            raise ValueError(message)
        found = {"namespace": client.adapter.namespace, "cert": client.session.cert}
        if isinstance(client.session.verify, str):
            found["ca"] = client.session.verify
        if not _LOGINS & options.keys():
            found["token"] = client.token or None
        return cls(client.url, **{**found, **options})

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> VaultConnection:  # noqa: ANN401 - as the constructor
        """Return the connection that the standard variables describe: ``VAULT_…``, or ``BAO_…`` before it.

        These are ``ADDR``, ``TOKEN`` (or the file ``.vault-token`` of this user), ``NAMESPACE``, ``CACERT``, ``CLIENT_CERT``,
        ``CLIENT_KEY``, ``CLIENT_TIMEOUT`` (seconds) and ``MAX_RETRIES``. Without a token, ``ROLE_ID`` with ``SECRET_ID_FILE``.

        Args:
            environ: Instead of ``os.environ``.
            options: Arguments of the constructor; they count before the variables.

        Raises:
            ValueError: The address is missing; or ``SKIP_VERIFY`` is set: TLS is verified always.
        """
        variables = os.environ if environ is None else environ

        def get(name: str) -> str | None:
            return variables.get(f"BAO_{name}") or variables.get(f"VAULT_{name}") or None

        address = options.pop("address", None) or get("ADDR")
        if not address:
            message = "where is Vault? Give its address, or set VAULT_ADDR"
            raise ValueError(message)
        if (get("SKIP_VERIFY") or "false").lower() not in {"0", "f", "false"}:
            message = "VAULT_SKIP_VERIFY is set, and TLS is verified always: name the authority with VAULT_CACERT"
            raise ValueError(message)
        if get("CLIENT_CERT") and get("CLIENT_KEY"):
            options.setdefault("cert", (get("CLIENT_CERT"), get("CLIENT_KEY")))
        for name, argument, kind in (
            ("NAMESPACE", "namespace", str),
            ("CACERT", "ca", str),
            ("CLIENT_TIMEOUT", "deadline", _seconds_of),
            ("MAX_RETRIES", "tries", lambda text: min(_TRIES, int(text) + 1)),
        ):
            value = get(name)
            if value is not None:
                options.setdefault(argument, kind(value))
        if not _LOGINS & options.keys():
            options |= _login_from(get, Path(variables.get("HOME") or Path.home()))
        return cls(address, **options)

    def health(self) -> VaultHealth:
        """Return what Vault says of itself, sealed or not. No token is shown.

        Raises:
            securekit.exceptions.WrapperUnavailableError: It does not answer.
        """

        def ask(client: Client, call: Call) -> VaultHealth:
            call.any_status = True
            answer = client.sys.read_health_status(method="GET")
            sealed = member(answer, "sealed")
            if not isinstance(sealed, bool):
                message = "what answers does not say how it is: is this address Vault's?"
                raise VaultFailureError(Outcome.UNAVAILABLE, message)
            return VaultHealth(
                initialized=bool(member(answer, "initialized")),
                sealed=sealed,
                standby=bool(member(answer, "standby")),
                version=str(member(answer, "version")),
                clock_skew=number(member(answer, "server_time_utc")) - time.time(),
            )

        try:
            return self._run("sys/health", "", ask, login=False, cooled=False)
        except VaultFailureError as failure:
            error = failure.as_wrapper_error()
        raise error

    def call(self, operation: str, target: str, work: Callable[[Client], T], *, repeatable: bool = True) -> T:
        """Make one call to Vault: within the deadline, with a good token, tried again where that helps and does no harm.

        Args:
            operation: For events, such as ``"transit/decrypt"``.
            target: For events: the key or path.
            work: Makes the call with ``hvac.Client``.
            repeatable: Whether it may be sent again after it has perhaps reached Vault.

        Raises:
            VaultFailureError: It failed.
        """
        return self._run(operation, target, lambda client, _: work(client), repeatable=repeatable)

    def __repr__(self) -> str:
        """Name the address, and how this process logs in."""
        return f"<VaultConnection {self.address} {type(self._login).__name__}>"

    def _run(
        self,
        operation: str,
        target: str,
        work: Callable[[Client, Call], T],
        *,
        repeatable: bool = True,
        login: bool = True,
        cooled: bool = True,
    ) -> T:
        self._follow_fork()
        begin = time.monotonic()
        call = Call(begin + self._deadline)
        previous = calling.set(call)
        outcome, tries = Outcome.UNAVAILABLE, 0
        pause, probing = 0.0, False
        try:
            if cooled:
                probing = self._may_ask(begin)
            while True:
                tries += 1
                try:
                    result = self._try(work, call, login=login)
                except VaultFailureError as failure:
                    outcome = failure.outcome
                    pause = max(self._cooldown, failure.retry_after or 0.0) if failure.away and self._cooldown else 0.0
                    if outcome is not Outcome.UNAVAILABLE or tries >= self._tries or (failure.sent and not repeatable):
                        raise
                    if not self._wait(failure.retry_after, tries, call):
                        raise
                else:
                    outcome = Outcome.DONE
                    return result
        finally:
            calling.reset(previous)
            if tries and cooled:
                self._down_until = time.monotonic() + pause if pause and outcome is Outcome.UNAVAILABLE else 0.0
            if probing:
                self._probe.release()
            self._emit(VaultEvent(operation, target, time.monotonic() - begin, str(outcome), tries))

    def _try(self, work: Callable[[Client, Call], T], call: Call, *, login: bool) -> T:
        """Try once; a token that Vault does not know any more is replaced once."""
        try:
            if login:
                self._log_in(call, self._tokens.current)
            return work(self._client, call)
        except VaultFailureError as error:
            failure = error
        token = call.token
        if token is None or failure.outcome is not Outcome.DENIED or not self._tokens.renews or not self._tokens.is_dead(token):
            raise failure.with_traceback(None)
        self._log_in(call, lambda: self._tokens.replace(token))
        return work(self._client, call)

    @staticmethod
    def _log_in(call: Call, token: Callable[[], str]) -> None:
        """Get a token for a call. Whatever that comes to, the call itself has not been sent."""
        call.token = None
        try:
            call.token = token()
        except VaultFailureError as error:
            failure = error
        else:
            call.sent = False
            return
        failure.sent = False
        raise failure.with_traceback(None)

    def _may_ask(self, now: float) -> bool:
        """Let one caller ask a Vault that did not answer a moment ago, and tell the others at once. Whether this one holds the probe.

        Raises:
            VaultFailureError: Vault did not answer a moment ago, or is being asked whether it is back.
        """
        if not self._down_until:
            return False
        left = self._down_until - now
        if left <= 0 and self._probe.acquire(blocking=False):
            return True
        when = f"it is asked again in {left:.1f} s" if left > 0 else "it is being asked whether it is back"
        raise VaultFailureError(Outcome.UNAVAILABLE, f"Vault did not answer a moment ago, and {when}", sent=False)

    def _wait(self, retry_after: float | None, tries: int, call: Call) -> bool:
        """Wait before the next try, if there is time for that and for the try."""
        pause = (retry_after or 0.0) + _BACKOFF * 2 ** (tries - 1) * (0.5 + int.from_bytes(random_bytes(4)) / 2**33)
        if call.deadline - time.monotonic() <= pause:
            return False
        time.sleep(pause)
        return True

    def _emit(self, event: VaultEvent) -> None:
        level = logging.DEBUG if event.outcome in {Outcome.DONE, Outcome.MISSING} else logging.WARNING
        _log.log(level, "%s %s: %s after %.3f s, %d tries", event.operation, event.target, event.outcome, event.seconds, event.tries)
        if self._event is None:
            return
        try:
            self._event(event)
        except Exception:  # noqa: BLE001 - the caller's own function may raise anything
            _log.exception("on_event raised")

    def _connect(self) -> None:
        """Make a client with connections, locks and a token holder of this process."""
        try:
            from hvac import Client as HvacClient

            from ._transport import Transport
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"hvac", "requests", "urllib3"}:
                raise
            message = "Vault is spoken to by the package hvac: install securekit-platform[vault]"
            raise WrapperError(message) from None
        transport = Transport(self.address, ca=self._ca, cert=self._cert, namespace=self._namespace)
        self._client = HvacClient(url=self.address, adapter=_given(transport))
        self._tokens = Tokens(self._login, self._client, anonymous=self._anonymous, with_token=self._with_token)
        self._probe = Lock()
        self._process = process.token

    def _follow_fork(self) -> None:
        """Give a forked child connections of its own: what two processes write to one socket is mixed up."""
        with process.lock:
            if self._process is not process.token:
                self._connect()

    @staticmethod
    def _anonymous(work: Callable[[], T]) -> T:
        call = calling.get()
        before, call.token = call.token, None
        try:
            return work()
        finally:
            call.token = before

    @staticmethod
    def _with_token(token: str, work: Callable[[], T]) -> T:
        call = calling.get()
        before, call.token = call.token, token
        try:
            return work()
        finally:
            call.token = before


def _only(ways: Mapping[str, Callable[[], Login] | Literal[False]]) -> Login:
    """Return the one way to log in that is given.

    Raises:
        ValueError: None or several are.
    """
    given = {name: make for name, make in ways.items() if make}
    if len(given) != 1:
        names = " and ".join(given) or "none"
        message = f"give one way to log in to Vault, not {names}: {', '.join(ways)}"
        raise ValueError(message)
    return next(iter(given.values()))()


def _given(transport: object) -> Callable[..., object]:
    """Return what hvac takes for a class of adapters: it makes one itself, and gets the one that there is."""
    return lambda **_: transport


def _checked_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        message = "Vault's address is of the form https://vault.example:8200"
        raise ValueError(message)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        message = f"plain http is accepted for this machine itself alone, and not for {parts.hostname}: use https"
        raise ValueError(message)
    return address.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _login_from(get: Callable[[str], str | None], home: Path) -> dict[str, Any]:
    """Return the way to log in that the variables describe; nothing if they do not."""
    if get("TOKEN"):
        return {"token": get("TOKEN")}
    if get("ROLE_ID") and get("SECRET_ID_FILE"):
        return {"role_id": get("ROLE_ID"), "secret_id_file": get("SECRET_ID_FILE")}
    own_file = home / _TOKEN_FILE
    return {"token_file": own_file} if own_file.exists() else {}


def _seconds_of(text: str) -> float:
    """Return the seconds of ``VAULT_CLIENT_TIMEOUT``: ``10`` or ``10s``, or minutes as ``1m``."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in {"s", "m"} else (text, "s")
    return float(number) * (60 if unit == "m" else 1)
