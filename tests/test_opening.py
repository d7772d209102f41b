# SPDX-License-Identifier: Apache-2.0
"""Stores and wrappers from names: each form gives what it says, and everything else says what is allowed."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

import pytest

from securekit.exceptions import KeyFileError, KeyNotFoundError
from securekit.keyring import FileKeyStore, MemoryKeyStore
from securekit.opening import STORE_VARIABLE, WRAP_VARIABLE, open_store, open_wrapper
from securekit.vault import KvKeyStore, TransitWrapper
from securekit.wrappers import LocalWrapper, PassphraseWrapper

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def kek(tmp_path: Path) -> Path:
    """The file of a local KEK."""
    LocalWrapper.generate(tmp_path / "root.key")
    return tmp_path / "root.key"


def _passphrase_file(directory: Path, content: bytes) -> Path:
    path = directory / "passphrase"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


# ------------------------------------------------------------------------------------------------ wrappers


def test_a_local_key(kek: Path) -> None:
    """``local:FILE`` is the key in that file, ``?label=`` its label."""
    assert open_wrapper(f"local:{kek}").key_ref == LocalWrapper.from_file(kek).key_ref
    assert open_wrapper(f"local:{kek}?label=eu-1").key_ref == LocalWrapper.from_file(kek, label="eu-1").key_ref


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_passphrase_from_a_file(tmp_path: Path, newline: bytes) -> None:
    """``passphrase:FILE`` is the text in that guarded file, without the newline that ends it."""
    path = _passphrase_file(tmp_path, PASSPHRASE.encode() + newline)
    wrapper = open_wrapper(f"passphrase:{path}?label=escrow")
    assert isinstance(wrapper, PassphraseWrapper)
    assert wrapper.key_ref == "escrow:"
    assert wrapper._passphrase == PASSPHRASE.encode()
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_wrapper(f"passphrase:{path}")


def test_a_passphrase_file_that_is_no_text(tmp_path: Path) -> None:
    """A binary file is refused without showing what is in it."""
    path = _passphrase_file(tmp_path, b"\xff" + PASSPHRASE.encode())
    with pytest.raises(KeyFileError, match=f"{path} is not UTF-8 text") as caught:
        open_wrapper(f"passphrase:{path}")
    assert caught.value.__context__ is None


def test_a_passphrase_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """``passphrase:`` asks the function that was given, or else at the terminal."""
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return PASSPHRASE

    wrapper = open_wrapper("passphrase:?label=a", ask=ask)
    assert isinstance(wrapper, PassphraseWrapper)
    assert wrapper._passphrase == PASSPHRASE.encode()
    monkeypatch.setattr(getpass, "getpass", ask)
    assert isinstance(open_wrapper("passphrase:"), PassphraseWrapper)
    assert asked == ["passphrase", "passphrase: "]


@pytest.mark.parametrize(
    "name", ["", ":", "local", "local:", "local:?label=a", "passphrase", "LOCAL:x", " local:x", "file:x", "/etc/root.key", "none:"]
)
def test_names_of_another_form(name: str) -> None:
    """What names no wrapper is repeated with the forms that do."""
    with pytest.raises(
        ValueError, match=r"names no wrapper: local:FILE, passphrase:, passphrase:FILE, cert:FILE, pkcs12:FILE, pq:FILE or vault:MOUNT/KEY"
    ):
        open_wrapper(name)


@pytest.mark.parametrize("kind", ["local:root.key", "passphrase:"])
@pytest.mark.parametrize("query", ["colour=red", "Label=a", "label=a&path=x", "password=x"])
def test_unknown_options(kind: str, query: str) -> None:
    """An option that does not exist is an error and no silence, before any file is opened or anybody asked."""
    with pytest.raises(ValueError, match=r"has the unknown option '\w+'; allowed are label"):
        open_wrapper(f"{kind}?{query}")


@pytest.mark.parametrize(
    "query", ["label", "label=", "label=a&", "&label=a", "label=a&label=b", "label=a&label=a", "=a", "label=a&x", "&".join("abcdefghi")]
)
def test_options_of_another_form(query: str) -> None:
    """Each option is a name with a value, and stands once."""
    with pytest.raises(ValueError, match=r"not of the form \?name=value&name=value, each name once") as caught:
        open_wrapper(f"local:root.key?{query}")
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_label_of_another_form(kek: Path) -> None:
    """The rule for labels holds here too."""
    with pytest.raises(ValueError, match="label is 1 to 32 of"):
        open_wrapper(f"local:{kek}?label=EU")


def test_a_missing_key_file(tmp_path: Path) -> None:
    """The reader's error comes through."""
    with pytest.raises(KeyFileError, match="No such file"):
        open_wrapper(f"local:{tmp_path / 'missing'}")


# ------------------------------------------------------------------------------------------------ stores


def test_a_store_of_files(tmp_path: Path, kek: Path) -> None:
    """``file:DIRECTORY`` keeps keyrings there."""
    store = open_store(f"file:{tmp_path / 'keys'}", wrap=f"local:{kek}")
    token = store.keyring("eu/acme/invoices", create=True).encrypt(b"x", context={})

    assert isinstance(store, FileKeyStore)
    again = FileKeyStore(tmp_path / "keys", wrapper=LocalWrapper.from_file(kek))
    assert again.keyring("eu/acme/invoices").decrypt(token, context={}) == b"x"


def test_a_store_in_memory(kek: Path) -> None:
    """``memory:`` keeps them in this process."""
    assert isinstance(open_store("memory:", wrap=f"local:{kek}"), MemoryKeyStore)


@pytest.mark.parametrize("as_given", [lambda a, b: [f"local:{a}", b], lambda a, b: (LocalWrapper.from_file(a), b)])
def test_several_wrappers(kek: Path, as_given: Callable[[Path, LocalWrapper], list[str | LocalWrapper]]) -> None:
    """Names and ready wrappers may be mixed; documents are written for all of them."""
    other = LocalWrapper(bytes(32))
    store = open_store("memory:", wrap=as_given(kek, other))
    ring = store.keyring("a", create=True)
    assert {copy.key_ref for copy in ring.recipients} == {LocalWrapper.from_file(kek).key_ref, other.key_ref}


def test_one_ready_wrapper() -> None:
    """A wrapper need not stand in a sequence."""
    wrapper = LocalWrapper(bytes(32))
    assert open_store("memory:", wrap=wrapper).keyring("a", create=True).recipients[0].key_ref == wrapper.key_ref


def test_the_environment_names_what_the_arguments_do_not(tmp_path: Path, kek: Path) -> None:
    """Both names may stand in the environment, the wrappers separated by white space; an argument wins."""
    other = tmp_path / "other.key"
    LocalWrapper.generate(other)
    environ = {STORE_VARIABLE: f"file:{tmp_path / 'keys'}", WRAP_VARIABLE: f"  local:{kek}\tlocal:{other} \n"}

    ring = open_store(environ=environ).keyring("a", create=True)

    assert (tmp_path / "keys" / "a@keyring.json").exists()
    assert len(ring.recipients) == 2
    assert isinstance(open_store("memory:", environ=environ), MemoryKeyStore)
    assert len(open_store("memory:", wrap=f"local:{kek}", environ=environ).keyring("a", create=True).recipients) == 1


def test_the_environment_of_the_process_is_the_default(tmp_path: Path, kek: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, ``os.environ`` is asked."""
    monkeypatch.setenv(STORE_VARIABLE, "memory:")
    monkeypatch.setenv(WRAP_VARIABLE, f"local:{kek}")
    assert isinstance(open_store(), MemoryKeyStore)


def test_also_open_reads_what_it_does_not_write(tmp_path: Path, kek: Path) -> None:
    """A document under another KEK opens with ``also_open``, and not without."""
    old = LocalWrapper(bytes(32))
    url = f"file:{tmp_path / 'keys'}"
    open_store(url, wrap=old).keyring("a", create=True)

    with pytest.raises(KeyNotFoundError, match="add the wrapper to wrapper= or also_open="):
        open_store(url, wrap=f"local:{kek}").keyring("a")
    for also_open in (old, [old], (old,)):
        assert open_store(url, wrap=f"local:{kek}", also_open=also_open).keyring("a").recipients[0].key_ref == old.key_ref


def test_options_reach_the_store(kek: Path) -> None:
    """What a store takes, `open_store` takes; what it does not take is a TypeError."""
    assert open_store("memory:", wrap=f"local:{kek}", refresh=7)._source.refresh == 7
    with pytest.raises(TypeError, match="colour"):
        open_store("memory:", wrap=f"local:{kek}", colour="red")  # type: ignore[call-arg]


def test_passphrases_are_asked_for_by_the_given_function() -> None:
    """``ask`` serves the wrappers of both arguments."""
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return PASSPHRASE

    open_store("memory:", wrap=["passphrase:"], also_open="passphrase:?label=old", ask=ask)
    assert len(asked) == 2


@pytest.mark.parametrize("environ", [{}, {STORE_VARIABLE: ""}])
def test_no_store_is_named(environ: dict[str, str], kek: Path) -> None:
    """The message says what to give or set."""
    with pytest.raises(ValueError, match=f"which keystore.* or set {STORE_VARIABLE}"):
        open_store(wrap=f"local:{kek}", environ=environ)


@pytest.mark.parametrize("environ", [{}, {WRAP_VARIABLE: " "}])
def test_no_kek_is_named(environ: dict[str, str]) -> None:
    """No keys are ever stored without a KEK; the message says what to give or set."""
    with pytest.raises(ValueError, match=f"which KEK.* or set {WRAP_VARIABLE}"):
        open_store("memory:", environ=environ)
    with pytest.raises(ValueError, match="which KEK"):
        open_store("memory:", wrap=[], environ={WRAP_VARIABLE: "local:root.key"})


@pytest.mark.parametrize(
    "url",
    [
        "file:",
        "file",
        "memory",
        "memory:x",
        "keys/",
        "FILE:keys",
        "sqlite",
        "postgres://h/d",
        "mysql://h/d",
        "http://example.org",
        ":",
        " file:x",
    ],
)
def test_urls_of_another_form(url: str, kek: Path) -> None:
    """What names no keystore is repeated with the forms that do."""
    with pytest.raises(ValueError, match=r"names no keystore: file:DIRECTORY, sqlite:///FILE, postgresql.*, vault:MOUNT/PREFIX or memory:"):
        open_store(url, wrap=f"local:{kek}")


# --------------------------------------------------------------------------------------------------- Vault

VAULT = {"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "t"}


def test_a_store_in_vault_shares_its_connection() -> None:
    """``vault:`` names are of the given environment, and a store and its wrappers are one client: one login, one cooldown."""
    store = open_store("vault:kv/keyrings/eu", wrap=["vault:transit/app?label=eu"], also_open="vault:team/transit/old", environ=VAULT)
    wrapper, old = store._source.openers("eu")
    assert isinstance(store, KvKeyStore)
    assert isinstance(wrapper, TransitWrapper)
    assert isinstance(old, TransitWrapper)
    assert (wrapper.key_ref, old.key_ref) == ("eu:transit/app", "team/transit/old")
    assert repr(wrapper) == "<TransitWrapper eu:transit/app at https://vault.example:8200>"
    assert store._storage._vault is wrapper._vault is old._vault  # type: ignore[attr-defined]
    assert open_wrapper("vault:transit/app", environ=VAULT).key_ref == "transit/app"


@pytest.mark.parametrize(
    "name", ["vault:", "vault:app", "vault:transit/", "vault:/app", "vault:transit/a b", "vault:../app", "vault:t/app?x=1"]
)
def test_names_in_vault_of_another_form(name: str) -> None:
    """A key has a mount and a name, neither of which leads elsewhere."""
    with pytest.raises(ValueError, match=r"names no wrapper|are named by letters|unknown option"):
        open_wrapper(name, environ=VAULT)
    with pytest.raises(ValueError, match=r"names joined by|names no keystore"):
        open_store("vault:../keyrings" if "?" in name else "vault:", wrap=LocalWrapper(bytes(32)), environ=VAULT)
