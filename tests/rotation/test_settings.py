# SPDX-License-Identifier: Apache-2.0
"""``rotation.toml``: read strictly, with a way out in every message, and nothing opened before it is needed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from securekit.envelope import Envelope
from securekit.exceptions import ConfigError
from securekit.rotation import Estate
from securekit.rotation._settings_table import parse_duration
from securekit.wrappers import LocalWrapper
from tests.canaries import walk

STORE = '[[store]]\nname = "keys"\nurl = "file:keys/"\nwrap = ["local:root.key"]\n'


def read(text: str, tmp_path: Path, **environ: str) -> Estate:
    file = tmp_path / "rotation.toml"
    file.write_text(text)
    return Estate.read(file, environ=environ)


def test_the_sample_is_understood(tmp_path: Path) -> None:
    """As it is printed, and with everything in it that is commented out."""
    sample = (files("securekit.rotation") / "sample.toml").read_text()
    estate = read(sample, tmp_path)
    assert list(estate.sources) == ["keys"]
    assert estate.policy.data_key_max_age == 90 * 24 * 3600
    uncommented = "\n".join(line[2:] if line.startswith("# ") and ("=" in line or "[[" in line) else line for line in sample.splitlines())
    assert list(read(uncommented, tmp_path).sources) == ["keys", "customers", "backups", "configuration"]


def test_the_policy_has_a_default_for_everything(tmp_path: Path) -> None:
    """A file that says nothing of ages has those of the sample."""
    assert read(STORE, tmp_path).policy == read((files("securekit.rotation") / "sample.toml").read_text(), tmp_path).policy


def test_another_file_has_it_as_a_table(tmp_path: Path) -> None:
    """The configuration of a service may hold it below ``rotation``."""
    text = STORE.replace("[[store]]", "[[rotation.store]]") + '[rotation.policy]\ndata_key_max_age = "1w"\n[service]\nport = 80\n'
    estate = read(text, tmp_path)
    assert (list(estate.stores), estate.policy.data_key_max_age) == (["keys"], 7 * 24 * 3600)


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600)])
def test_durations(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "90 d", "1y", "1000000000d", "९0d"])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(ValueError, match='such as "90d"'):
        parse_duration(text)


SQL = (
    '[[source]]\nname = "customers"\nkind = "sql"\nurl_variable = "DB"\ntable = "t"\nkey = "id"\ncolumns = ["c"]\nstore = "keys"\n'
    'keyring = "eu/{a}/c"\n'
)
FILES = '[[source]]\nname = "files"\nkind = "files"\nroot = "data"\nrecipients = ["local:root.key"]\n'


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "names no .*nothing would be rotated"),
        ("x = ", "Invalid value"),
        (STORE + "jurnals = 'x'", "'jurnals' is not understood"),
        (STORE.replace("wrap", "wrapp"), "wrap is missing"),
        (STORE + "also_opne = []", "'also_opne' is not understood; is it 'also_open'"),
        (STORE.replace('"keys"', "5", 1), "name is of another type"),
        (STORE.replace('"keys"', '"Keys!"', 1), "a name is 1 to 64 of"),
        (STORE.replace("url", "uri"), "give url, or the name of an environment variable"),
        (STORE + 'url_variable = "X"', "give url, or the name of an environment variable"),
        (STORE.replace('["local:root.key"]', "[5]"), "wrap is to be a text, or a list of texts"),
        (STORE.replace('["local:root.key"]', "5"), "wrap is to be a text, or a list of texts"),
        (STORE + STORE, "another one is called 'keys'"),
        (STORE + "[policy]\nmax_messages = 0", "max_messages is to be at least 1"),
        (STORE + "[policy]\nmax_messages = true", "max_messages is of another type"),
        (STORE + '[policy]\ngrace = "1y"', "grace: a duration is a number"),
        ("policy = 5\n" + STORE, "policy is of another type"),
        ("source = [5]\n" + STORE, "is to be a table"),
        (STORE + SQL.replace('"sql"', '"ldap"'), "kind is sql, files or config, not 'ldap'"),
        (STORE + SQL.replace('"keys"', '"other"'), "there is no store 'other'"),
        (STORE + SQL.replace('store = "keys"\n', ""), "store is missing"),
        (STORE + SQL + 'content = "secrets"', "content is records or envelopes"),
        (STORE + SQL + "context = { id = 5 }", "the values of context are to be texts"),
        (STORE + SQL.replace('"customers"', '"keys"', 1), "a store and a source are both called 'keys'"),
        (STORE + FILES.replace('recipients = ["local:root.key"]\n', ""), "recipients is missing"),
        (STORE + FILES + 'keyring = "eu/a/b"', "store is missing: where is the keyring"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, match: str, tmp_path: Path) -> None:
    """A mistake in the file stops everything before anything is opened, and is named."""
    with pytest.raises(ConfigError, match=match):
        read(text, tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It says where a sample comes from; one that is too large is not read."""
    with pytest.raises(ConfigError, match="No such file or directory; a sample is printed by: securekit rotate sample"):
        Estate.read(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="codec can't decode"):
        Estate.read(tmp_path / "latin.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"deep\.toml: "):
        Estate.read(tmp_path / "deep.toml")
    with pytest.raises(ConfigError, match="has more than 1048576 bytes"):
        read("#" * (1024 * 1024 + 1), tmp_path)


def test_what_is_named_is_opened_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing variable, file or store is an error of the source that is used, and of no other."""
    monkeypatch.chdir(tmp_path)
    LocalWrapper.generate(tmp_path / "root.key")
    (tmp_path / "data").mkdir()
    estate = read(STORE + SQL + FILES, tmp_path)
    estate.stores["keys"].open().keyring("eu/acme/a", create=True)
    assert estate.stores["keys"].open() is estate.stores["keys"].open()
    assert estate.plan("keys").items == 1
    assert estate.plan("files").items == 0
    with pytest.raises(ConfigError, match="the environment variable DB is not set"):
        estate.plan("customers")
    away = "postgresql+psycopg://somebody:canary@127.0.0.1:1/app"
    with pytest.raises(ConfigError, match="source customers: the database cannot be used now") as raised:
        read(STORE + SQL, tmp_path, DB=away).plan("customers")
    assert not [seen for seen in walk(raised.value) if "canary" in repr(seen)]
    with pytest.raises(ConfigError, match="there is no source 'other'; there are keys, customers, files"):
        estate.plan("other")
    assert estate.store_of("eu/acme/a") is estate.stores["keys"].open()
    with pytest.raises(ConfigError, match="no store has the keyring eu/acme/b"):
        estate.store_of("eu/acme/b")


def test_a_keyring_in_two_stores_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is meant cannot be known."""
    monkeypatch.chdir(tmp_path)
    LocalWrapper.generate(tmp_path / "root.key")
    estate = read(STORE + STORE.replace('"keys"', '"copies"', 1), tmp_path)
    estate.stores["keys"].open().keyring("eu/acme/a", create=True)
    with pytest.raises(ConfigError, match="eu/acme/a is in several stores: keys, copies"):
        estate.store_of("eu/acme/a")


def test_files_may_be_sealed_to_a_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store's keyring is a recipient, too."""
    monkeypatch.chdir(tmp_path)
    LocalWrapper.generate(tmp_path / "root.key")
    (tmp_path / "data").mkdir()
    text = STORE + FILES.replace('recipients = ["local:root.key"]', 'store = "keys"\nkeyring = "eu/acme/files"')
    estate = read(text, tmp_path)
    ring = estate.stores["keys"].open().keyring("eu/acme/files", create=True)
    envelope = estate.sources["files"].envelope()
    assert envelope is not None
    assert envelope.recipients[0].key_ref == ring.primary().full_name


def test_messages_in_columns_are_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With recipients, and no keyring of their own."""
    monkeypatch.chdir(tmp_path)
    wrapper = LocalWrapper.generate(tmp_path / "root.key")
    with closing(sqlite3.connect("app.db")) as database, database:
        database.execute("create table t (id integer primary key, c blob)")
        database.execute("insert into t values (1, ?)", (Envelope(wrapper).encrypt(b"", context={}),))
    recipients = SQL.replace('keyring = "eu/{a}/c"\n', 'content = "envelopes"\nrecipients = ["local:root.key"]\n')
    planned = read(STORE + recipients, tmp_path, DB="sqlite:///app.db").plan("customers")
    assert (planned.kind, planned.items, planned.todo) == ("rewrap", 1, 0)
