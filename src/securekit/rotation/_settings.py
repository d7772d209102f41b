# SPDX-License-Identifier: Apache-2.0
"""``rotation.toml``: which stores and sources there are, and how old keys may become. The reference is ``docs/reference/rotation-toml.md``.

No secret stands in it: a database's address comes from an environment variable, keys from files or Vault.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from securekit.exceptions import ConfigError
from securekit.opening import kind_of, open_store, open_wrapper

from ._documents import ConfigDocuments
from ._files import SealedFiles
from ._keyrings import Keyrings
from ._plan import Plan, job_of, plan
from ._settings_table import SettingsTable

if TYPE_CHECKING:
    from securekit.envelope import Envelope
    from securekit.keyring import KeyStore
    from securekit.wrappers import KeyWrapper

    from ._job import Job
    from ._plan import AnySource

__all__ = ["Estate", "EstateSource", "EstateStore", "Policy"]

DAY = 24 * 3600  # seconds
MAX_SIZE = 1024 * 1024  # bytes of a rotation.toml
_NAME = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """How old keys may become. Durations are seconds.

    Attributes:
        data_key_max_age: Of a keyring's primary.
        kek_max_age: Of a Transit key's latest version, and of a local KEK's file.
        certificate_warning: Before a certificate's end.
        config_data_key_max_age: Of a data key of a configuration document.
        max_messages: Records under one key.
        grace: For which a key stays disabled before it is destroyed; ``refresh + stale_if_error`` of its keyring at least.
    """

    data_key_max_age: int = 90 * DAY
    kek_max_age: int = 365 * DAY
    certificate_warning: int = 30 * DAY
    config_data_key_max_age: int = 180 * DAY
    max_messages: int = 1 << 32
    grace: int = 7 * DAY


@dataclass(frozen=True, slots=True, repr=False)
class EstateStore:
    """A keystore of a `Estate`, opened when it is first used.

    Attributes:
        name: What it is called.
        wrap: The names of its wrappers, as `securekit.opening.open_wrapper` takes them.
        open: Opens it, once.
    """

    name: str
    wrap: tuple[str, ...]
    open: Callable[[], KeyStore]


@dataclass(frozen=True, slots=True, repr=False)
class EstateSource:
    """A source of an `Estate`, opened when it is first used.

    Attributes:
        name: What it is called.
        kind: ``"sql"``, ``"files"``, ``"config"``, or ``"store"`` for the keyrings of a store.
        store: The name of the store that it belongs to, if any.
        open: Opens it, once.
        envelope: What sealed messages and files are for; None for others.
        drop: The ``key_ref`` of recipients that sealed messages and files lose.
    """

    name: str
    kind: str
    store: str
    open: Callable[[], AnySource]
    envelope: Callable[[], Envelope | None]
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Estate:
    """All that an organisation rotates: what a ``rotation.toml`` says.

    Attributes:
        policy: How old keys may become.
        journals: The directory with the journals of runs.
        stores: By name.
        sources: By name; each store is one, too.
    """

    policy: Policy
    journals: Path
    stores: Mapping[str, EstateStore]
    sources: Mapping[str, EstateSource]

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Estate:
        """Read a ``rotation.toml``; of another TOML file, its table ``rotation``.

        Args:
            path: The file, at most 1 MiB.
            environ: Instead of ``os.environ``.

        Raises:
            securekit.exceptions.ConfigError: It cannot be read, or says something that is not understood.
        """
        file = Path(path)
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_SIZE + 1)
            if len(data) > MAX_SIZE:
                message = f"{file} has more than {MAX_SIZE} bytes"
                raise ConfigError(message)
            top = tomllib.loads(data.decode())
        except OSError as error:
            message = f"{file}: {error.strerror}; a sample is printed by: securekit rotate sample"
            raise ConfigError(message) from None
        except (ValueError, RecursionError) as error:
            message = f"{file}: {error}"
            raise ConfigError(message) from None
        return cls.of(top.get("rotation", top), name=str(file), environ=environ)

    @classmethod
    def of(cls, table: Mapping[str, Any], *, name: str = "rotation", environ: Mapping[str, str] | None = None) -> Estate:
        """Take the settings from a mapping; arguments and errors as `read`.

        Args:
            table: What stands in a ``rotation.toml``.
            name: What it is called in messages.
            environ: Instead of ``os.environ``.
        """
        variables = os.environ if environ is None else environ
        top = SettingsTable(table, name)
        policy = _policy(top.table("policy"))
        journals = Path(top.text("journals", "rotation-journals"))
        stores = _named(top, "store", lambda one: _store(one, variables))
        sources = _named(top, "source", lambda one: _source(one, stores, variables))
        for store in stores.values():
            if store.name in sources:
                message = f"{name}: a store and a source are both called {store.name!r}"
                raise ConfigError(message)
        top.end()
        if not stores and not sources:
            message = f"{name} names no [[store]] and no [[source]]: nothing would be rotated"
            raise ConfigError(message)
        as_sources = {
            one.name: EstateSource(one.name, "store", one.name, lambda one=one: Keyrings(one.open()), lambda: None)  # type: ignore[misc]
            for one in stores.values()
        }
        return cls(policy, journals, stores, {**as_sources, **sources})

    def plan(self, name: str) -> Plan:
        """Count what is in a source, and what is to be done to it. See `securekit.rotation.plan`."""
        source = self.source(name)
        return plan(source.open(), store=self._store_of(source), envelope=source.envelope(), drop=source.drop)

    def jobs(self) -> list[Job]:
        """Return the work at every source, for a verification of all."""
        return [job_of(one.open(), store=self._store_of(one), envelope=one.envelope(), drop=one.drop) for one in self.sources.values()]

    def source(self, name: str) -> EstateSource:
        """Return a source.

        Raises:
            securekit.exceptions.ConfigError: There is none of that name.
        """
        if name not in self.sources:
            message = f"there is no source {name!r}; there are {', '.join(self.sources)}"
            raise ConfigError(message)
        return self.sources[name]

    def store_of(self, path: str) -> KeyStore:
        """Return the one store that has a keyring at ``path``.

        Raises:
            securekit.exceptions.ConfigError: None has, or several have.
        """
        found = [store for store in self.stores.values() if path in store.open().paths(path)]
        if len(found) != 1:
            names = ", ".join(store.name for store in found)
            message = f"{path} is in several stores: {names}" if found else f"no store has the keyring {path}"
            raise ConfigError(message)
        return found[0].open()

    def _store_of(self, source: EstateSource) -> KeyStore | None:
        return self.stores[source.store].open() if source.store and source.kind == "sql" else None


def _named(top: SettingsTable, kind: str, make: Callable[[SettingsTable], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in top.tables(kind):
        one = make(table)
        table.end()
        if one.name in found:
            message = f"{table.name}: another one is called {one.name!r}"
            raise ConfigError(message)
        found[one.name] = one
    return found


def _policy(table: SettingsTable) -> Policy:
    default = Policy()
    made = Policy(
        data_key_max_age=table.duration("data_key_max_age", default.data_key_max_age),
        kek_max_age=table.duration("kek_max_age", default.kek_max_age),
        certificate_warning=table.duration("certificate_warning", default.certificate_warning),
        config_data_key_max_age=table.duration("config_data_key_max_age", default.config_data_key_max_age),
        max_messages=table.number("max_messages", default.max_messages),
        grace=table.duration("grace", default.grace),
    )
    table.end()
    return made


def _store(table: SettingsTable, environ: Mapping[str, str]) -> EstateStore:
    name = _name(table)
    url, wrap, also_open = _url(table, environ), table.texts("wrap"), table.texts("also_open", ())
    return EstateStore(name, wrap, _once(lambda: open_store(url(), wrap=list(wrap), also_open=list(also_open), environ=environ)))


def _source(table: SettingsTable, stores: Mapping[str, EstateStore], environ: Mapping[str, str]) -> EstateSource:
    name, kind = _name(table), table.text("kind")
    store = table.text("store", "")
    if store and store not in stores:
        message = f"{table.name}: there is no store {store!r}"
        raise ConfigError(message)
    if kind == "sql":
        return _sql(table, name, store, stores, environ)
    if kind == "files":
        root, suffix, context = table.text("root"), table.text("suffix", ".sk"), table.mapping("context")
        files = _once(lambda: SealedFiles(root, suffix=suffix, context=context))
        return EstateSource(name, kind, store, files, _envelope(table, stores.get(store), environ), table.texts("drop", ()))
    if kind == "config":
        return EstateSource(name, kind, store, _config(table), lambda: None)
    message = f"{table.name}: kind is sql, files or config, not {kind!r}; the keyrings of every [[store]] are sources by themselves"
    raise ConfigError(message)


def _sql(table: SettingsTable, name: str, store: str, stores: Mapping[str, EstateStore], environ: Mapping[str, str]) -> EstateSource:
    content = table.text("content", "records")
    if content not in {"records", "envelopes"}:
        message = f"{table.name}: content is records or envelopes, not {content!r}"
        raise ConfigError(message)
    if content == "records" and not store:
        message = f"{table.name}: store is missing: where are the keyrings of these records?"
        raise ConfigError(message)
    url = _url(table, environ)
    options: dict[str, Any] = {
        "table": table.text("table"),
        "key": list(table.texts("key")),
        "columns": list(table.texts("columns")),
        "context": table.mapping("context") or {},
        "content": content,
    }
    if content == "records":
        options["keyring"] = table.text("keyring")

    def columns() -> AnySource:
        from securekit.sql import SqlColumns

        try:
            source: AnySource = SqlColumns(url(), **options)
        except (OSError, ValueError) as error:
            message = f"source {name}: {error}"  # of several sources, it does not say which
        else:
            return source
        raise ConfigError(message)  # here, without what had been raised: its frames have the database's address

    if content == "records":
        return EstateSource(name, "sql", store, _once(columns), lambda: None)
    return EstateSource(name, "sql", store, _once(columns), _envelope(table, stores.get(store), environ), table.texts("drop", ()))


def _config(table: SettingsTable) -> Callable[[], AnySource]:
    root, identity, sign = table.text("root"), table.texts("identity", ()), table.text("sign", "")
    trust = table.text("trust", "") or None
    recipients = table.texts("recipients") if table.has("recipients") else None

    def documents() -> AnySource:
        from securekit._primitives.signatures import SigningKey
        from securekit._wire.key_files import read_key_file

        return ConfigDocuments(
            root,
            identity=list(identity) or None,
            recipients=None if recipients is None else [open_wrapper(kind_of(one, opens=False)) for one in recipients],
            sign=SigningKey.read(read_key_file(Path(sign))) if sign else None,
            trust=trust,
        )

    return _once(documents)


def _envelope(table: SettingsTable, store: EstateStore | None, environ: Mapping[str, str]) -> Callable[[], Envelope]:
    """Return what makes the envelope that ``recipients``, ``also_open`` and ``keyring`` name."""
    recipients, also_open = table.texts("recipients", ()), table.texts("also_open", ())
    keyring = table.text("keyring", "")
    if keyring and store is None:
        message = f"{table.name}: store is missing: where is the keyring {keyring}?"
        raise ConfigError(message)
    if not recipients and not keyring:
        message = f"{table.name}: recipients is missing: who may open it from now on?"
        raise ConfigError(message)

    def make() -> Envelope:
        from securekit.envelope import Envelope
        from securekit.keyring import KeyringWrapper

        wrappers: list[KeyWrapper] = [open_wrapper(_kind(one, opens=False), environ=environ) for one in recipients]
        if keyring and store is not None:
            wrappers.append(KeyringWrapper(store.open().keyring(keyring)))
        return Envelope(wrappers, also_open=[open_wrapper(_kind(one, opens=True), environ=environ) for one in also_open])

    return _once(make)


def _kind(name: str, *, opens: bool) -> str:
    return kind_of(name, opens=opens) if Path(name).exists() else name


def _name(table: SettingsTable) -> str:
    name = table.text("name")
    if not re.fullmatch(_NAME, name):
        message = f"{table.name}: a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', not {name!r}"
        raise ConfigError(message)
    return name


def _url(table: SettingsTable, environ: Mapping[str, str]) -> Callable[[], str]:
    """Return what says where a store or database is: ``url``, or the environment variable that ``url_variable`` names."""
    if table.has("url") == table.has("url_variable"):
        message = f"{table.name}: give url, or the name of an environment variable as url_variable"
        raise ConfigError(message)
    if table.has("url"):
        url = table.text("url")
        return lambda: url
    variable, name = table.text("url_variable"), table.name

    def look() -> str:
        if not environ.get(variable):
            message = f"{name}: the environment variable {variable} is not set"
            raise ConfigError(message)
        return environ[variable]

    return look


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """Return what calls ``make`` when it is first called, and returns the same from then on."""
    made: list[T] = []

    def get() -> T:
        if not made:
            made.append(make())
        return made[0]

    return get
