# SPDX-License-Identifier: Apache-2.0
"""Whatever is changed in a document is refused with one error, or is no part of what it says."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import permutations
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securekit._primitives.hkdf import hkdf
from securekit._wire import base64url
from securekit.config import Document, Trust
from securekit.config._base import check_trust
from securekit.config._block import DataKey, MetadataBlock
from securekit.config._opening import unwrap_keys
from securekit.config._token import DocumentKey, Token, parse_token
from securekit.config._tree import Path, Scalar
from securekit.config._walk import Leaf, tokens
from securekit.exceptions import ConfigError, DecryptionError, FormatError, KeyNotFoundError
from securekit.wrappers import KeyWrapper, LocalWrapper
from tests.config.parts import ENVIRONMENT, FORMATS, author, encrypt, host, reader, sealed, trust_in
from tests.conftest import Count
from tests.identities import clock
from tests.primitives.two_keys import derived_key, opens_under_both

WRAPPER, SECOND = LocalWrapper(bytes(range(32))), LocalWrapper(bytes(32))
SMALL = {
    "yaml": """\
# a comment
base: &base {port: 1, live: yes, key: one}
web: {<<: *base, half: 0.5, day: 2026-11-25}
list: [two, "three", ~, &other y, &anchor 'x', *anchor]
raw: !!binary "AP8="
""",
    "json": '{"base": {"port": 1, "on": true, "key": "one"},\n "list": ["two", "three", null, 0.5], "\\u00e9": {}}\n',
    "toml": """\
# a comment
list = ["two", 'three']
day = 2026-11-25
half = 0.5
[base]
port = 0x1
on = true
"key" = "one" # another
""",
    "env": "# a comment\nexport KEY='one'\nTWO=two # another\nTHREE=\"three\"\nPORT=1\nON\n",
    "ini": "; a comment\n[base]\nport = 1\nkey: one\non\n[list]\ntwo = two\n three\n",
}
"""A short document of each format, with what it has."""
PATTERNS = {
    "yaml": ("**.key", "list[0]", "list[1]"),
    "json": ("**.key", "list[0]", "list[1]"),
    "toml": ("**.key", "list[*]"),
    "env": ("KEY", "T*"),
    "ini": ("*.key", "list"),
}


@cache
def small(form: str, *, recipients: tuple[KeyWrapper, ...] = (WRAPPER,)) -> Document:
    """Return the short document, encrypted."""
    return another(form, *recipients)


def another(form: str, *recipients: KeyWrapper) -> Document:
    """Return the short document with another id and other keys."""
    return encrypt(Document.parse(SMALL[form].encode(), format=form), patterns=PATTERNS[form], recipients=recipients or [WRAPPER])


@cache
def signed(form: str) -> Document:
    """Return the same, signed."""
    return small(form).sign(author().key)


def outcome(data: bytes, form: str, trust: Trust | None = None, wrapper: KeyWrapper = WRAPPER) -> tuple[str, ...] | Exception:
    """Return all that a document says, or the error with which a host refuses it."""
    try:
        document = Document.parse(data, format=form)
        document.check_environment(ENVIRONMENT)
        if trust is not None:
            check_trust(document, trust)
        values = document.open([wrapper]).reveal()
    except (FormatError, ConfigError, DecryptionError, KeyNotFoundError) as error:
        return error
    return repr(document.source.tree), repr(document.source.metadata), revealed(values)


def revealed(value: Any) -> str:
    """Return values as text, secrets included."""
    if isinstance(value, dict):
        return "".join(["{", *(f"{key!r}: {revealed(one)}," for key, one in value.items()), "}"])
    if isinstance(value, list):
        return "".join(["[", *(revealed(one) + "," for one in value), "]"])
    return repr(value.reveal() if hasattr(value, "reveal") else value)


def judge(found: tuple[str, ...] | Exception, right: tuple[str, ...] | Exception) -> bool:
    """Whether a changed document is refused; if it is not, it says what it said before."""
    if isinstance(found, DecryptionError):
        assert (type(found), str(found), found.args) == (DecryptionError, str(DecryptionError()), DecryptionError().args)
        assert found.__cause__ is None
        assert found.__context__ is None
    if not isinstance(found, Exception):
        assert found == right
    return isinstance(found, Exception)


def try_each(changed: Iterable[bytes], document: Document, count: Count, what: str, **options: Any) -> None:
    """Judge each changed text of a document, and count."""
    right = outcome(document.to_bytes(), document.format, **options)
    assert not isinstance(right, Exception)
    refused = same = 0
    for data in changed:
        if judge(outcome(data, document.format, **options), right):
            refused += 1
        else:
            same += 1
    count(f"{what} of documents refused", refused)
    count(f"{what} of documents that change comments or layout", same)
    assert refused > 5 * same


def flips(data: bytes, step: int = 1) -> Iterator[bytes]:
    """Yield ``data`` with one bit changed: each, or every so many."""
    for bit in range(0, 8 * len(data), step):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.repetitive
@pytest.mark.parametrize("form", FORMATS)
def test_every_bit_flip_is_refused_or_changes_nothing(form: str, count: Count) -> None:
    """A document with one bit flipped is refused; or the bit was a comment's or layout's, and tree, block and values are equal."""
    try_each(flips(small(form).to_bytes()), small(form), count, "bit flips")


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_every_bit_flip_of_a_signed_document_is_refused_or_changes_nothing(form: str, count: Count) -> None:
    """The same with a trust, where the signature shows it, its own bits included."""
    try_each(flips(signed(form).to_bytes()), signed(form), count, "bit flips", trust=trust_in(signed(form), author()))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_every_bit_flip_of_a_realistic_document_is_refused_or_changes_nothing(form: str, count: Count) -> None:
    """The same for a production file with a certificate, for every fifth bit."""
    try_each(flips(sealed(form).to_bytes(), 5), sealed(form), count, "bit flips", wrapper=host().private)


@pytest.mark.repetitive
@pytest.mark.parametrize("form", FORMATS)
def test_every_truncation_is_refused_or_changes_nothing(form: str, count: Count) -> None:
    """A document that was cut anywhere is refused, unless nothing but layout is gone."""
    data = signed(form).to_bytes()

    try_each((data[:size] for size in range(len(data))), signed(form), count, "truncations", trust=trust_in(signed(form), author()))


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_put_behind_or_before_is_refused_or_changes_nothing(form: str, count: Count) -> None:
    """A document with 1 to 64 bytes before or behind it, and one with itself behind it, is refused, or it was layout."""
    data, noise = small(form).to_bytes(), random.Random(form)
    added = (
        [noise.randbytes(size) for size in range(1, 65)] + [b"x" * size for size in range(1, 65)] + [bytes(size) for size in range(1, 65)]
    )
    added += [
        b" \n",
        b"\n#\n",
        b"}",
        b"a: 1\n",
        b"a = 1\n",
        b"A=1\n",
        b"[x]\n",
        b"...\n",
        b"--- {}\n",
        data,
        *data.splitlines(keepends=True),
    ]

    try_each([part for more in added for part in (data + more, more + data)], small(form), count, "extensions")


@pytest.mark.parametrize("form", FORMATS)
def test_no_mix_of_two_versions_is_a_document(form: str, count: Count) -> None:
    """What lies between commas and line ends of an older version, any range of it, in the place of newer is refused, or is one of both."""
    document = small(form)
    edit = document.edit(wrappers=[WRAPPER], confirmed=[document.required.recipients[0].key_ref], clock=clock())
    edit.set(next(iter(leaf_tokens(document))), "a new one")
    versions = [document.to_bytes(), edit.finish().to_bytes()]
    both = [outcome(data, form) for data in versions]
    old, new = (re.split(rb"(?<=[\n,])", data) for data in versions)
    cuts = [
        (begin, end, shift) for begin in range(len(new)) for end in range(begin + 1, len(new) + 1) for shift in (0, len(new) - len(old))
    ]
    mixed = {b"".join([*new[:begin], *old[max(0, begin - shift) : max(0, end - shift)], *new[end:]]) for begin, end, shift in cuts} - set(
        versions
    )

    refused = [isinstance(found, Exception) for data in mixed if (found := outcome(data, form)) not in both]
    assert all(refused)
    assert len(refused) > 100
    count("mixed versions of documents refused", len(refused))


# What somebody does who knows a data key: the tag is made anew.


@cache
def keys_of(document: Document) -> dict[str, DocumentKey]:
    """Return the data keys."""
    block = document.required
    return unwrap_keys(block, [WRAPPER], [key.id for key in block.keys], name="")


def retagged(document: Document, block: MetadataBlock | None = None, keys: dict[str, DocumentKey] | None = None) -> Document:
    """Return the document with a good tag, as it is now or with another block."""
    changed = document if block is None else document.with_block(block)
    known = keys_of(document) if keys is None else keys
    return changed.with_block(replace(changed.required, tag=known[changed.required.keys[-1].id].tag(changed.canonical)))


def with_values(document: Document, values: Mapping[Path, Scalar]) -> Document:
    """Return the document with other values, and a good tag."""
    return retagged(document.with_text(document.source.replace(values)), keys=keys_of(document))


def refusal(document: Document, **options: Any) -> Exception:
    """Return the error with which a document is refused."""
    found = outcome(document.to_bytes(), document.format, **options)
    assert judge(found, ())
    assert isinstance(found, Exception)
    return found


def leaf_tokens(document: Document) -> dict[Path, str]:
    """Return the tokens with their paths."""
    return {path: str(token) for path, token in tokens(document.source.tree)}


def texts(document: Document) -> list[Leaf]:
    """Return the values that another text can take the place of."""
    return [leaf for leaf in document.leaves() if isinstance(leaf.value, str | int | float)]


@pytest.mark.parametrize("form", FORMATS)
def test_a_token_opens_at_no_other_path(form: str, count: Count) -> None:
    """Each token, moved or copied to every other path of an authentic document, is the decryption error; so are two that were swapped."""
    document = small(form)
    found = leaf_tokens(document)
    moves = [{leaf.path: token} for path, token in found.items() for leaf in texts(document) if leaf.path != path]
    swaps = [{one: found[two], two: found[one]} for one, two in permutations(found, 2)]

    for values in moves + swaps:
        assert type(refusal(with_values(document, values))) is DecryptionError
    assert isinstance(outcome(with_values(document, {}).to_bytes(), form), tuple)
    count("tokens of documents moved", len(moves) + len(swaps))


@pytest.mark.parametrize("form", FORMATS)
def test_a_token_of_another_document_does_not_open(form: str) -> None:
    """A token of another document, of another environment, or of another data key, does not open at its own path."""
    document, other = small(form), another(form)
    path, text = next(iter(leaf_tokens(other).items()))
    key, foreign_key = keys_of(document)[document.required.keys[-1].id], next(iter(keys_of(other).values()))
    mine, theirs = document.required.document, other.required.document

    def sealed_for(document: bytes, environment: str = ENVIRONMENT, key_id: str = key.id) -> str:
        token = DocumentKey(key.value, key_id, document=document, environment=environment).seal(path, "x")
        return str(token._replace(key_id=key.id))

    strange = [
        text,  # under a data key that this document does not have
        str(parse_token(text)._replace(key_id=key.id)),  # under one of this name
        str(foreign_key.seal(path, "x")._replace(key_id=key.id)),
        sealed_for(theirs),
        sealed_for(mine, environment="staging"),
        sealed_for(mine, key_id="00000000"),
    ]

    for token in strange:
        assert type(refusal(with_values(document, {path: token}))) is DecryptionError
    assert isinstance(outcome(with_values(document, {path: sealed_for(mine)}).to_bytes(), form), tuple)


def test_a_token_that_aes_gcm_opens_under_two_keys_opens_under_one() -> None:
    """A ciphertext that was crafted for two data keys of a document is refused under the one that it does not commit to."""
    one, two = (DocumentKey(bytes([number]) * 32, f"0000000{number}", document=bytes(16), environment=ENVIRONMENT) for number in (1, 2))
    path, nonce = ("db", "password"), bytes(range(24))
    committed = one._cipher._encrypt_with(nonce, b"", b"")[24:56]
    derived = [derived_key(hkdf(key.value, "securekit/config/1 values"), nonce) for key in (one, two)]
    crafted = opens_under_both(derived[0], derived[1], nonce[12:], b"sforged".ljust(16, b"\x00"), (one._bind(path), two._bind(path)))
    for key, bound in zip(derived, (one._bind(path), two._bind(path)), strict=True):
        AESGCM(key).decrypt(nonce[12:], crafted, bound)  # the attack itself works

    one._cipher.decrypt(nonce + committed + crafted, one._bind(path))
    with pytest.raises(DecryptionError):
        two._cipher.decrypt(nonce + committed + crafted, two._bind(path))
    with pytest.raises(DecryptionError):
        two.open(path, Token(two.id, nonce + committed + crafted))


# What somebody does who knows no key: the tag shows it.

CHANGES = {
    "yaml": r"""
|live: yes|live: 'yes'|
|port: 1|port: '1'|
|port: 1|port: 1.0|
|port: 1|part: 1|
|half: 0.5|half: 0.25|
|, ~,|, '~',|
|, ~,|, ~, ~,|
|, ~,|,|
|<<: *base, ||
|<<: *base|base: *base|
|<<:|"<<":|
|*anchor|x|
|*anchor|*other|
|*anchor|*base|
|day: 2026-11-25|day: '2026-11-25'|
|day: 2026-11-25|day: 2026-11-25T00:00:00|
|!!binary ||
|AP8|AP4|
|{port: 1, live: yes,|{live: yes, port: 1,|
|key:|kez:|
|raw:|new: {}\nraw:|
|raw:|new: ~\nraw:|
|list:|lists:|
""",
    "json": r"""
|true|false|
|true|"true"|
|true|1|
|"port": 1|"port": "1"|
|"port": 1|"port": 1.0|
|"port": 1|"part": 1|
|null|"null"|
|null|null, null|
|null, ||
|0.5|0.25|
|{}|[]|
|{}|null|
|"key"|"kez"|
|"port": 1, "on": true|"on": true, "port": 1|
|"base": {|"base": {"new": null, |
|"list"|"lists"|
|\u00e9|e|
""",
    "toml": r"""
|true|false|
|true|"true"|
|true|1|
|0x1|"1"|
|0x1|1.0|
|port|part|
|0.5|0.25|
|day = 2026-11-25|day = "2026-11-25"|
|day = 2026-11-25|day = 2026-11-25T00:00:00|
|[base]|[[base]]|
|[base]|[case]|
|list = [|list = ['', |
|half = 0.5\n||
|half = 0.5|half = 0.5\nnew = []|
|"key"|"kez"|
|port = 0x1\non = true|on = true\nport = 0x1|
|day = 2026-11-25\nhalf = 0.5|half = 0.5\nday = 2026-11-25|
""",
    "env": r"""
|PORT=1|PORT=2|
|PORT=1|PART=1|
|PORT=1\n||
|PORT=1\n|PORT=1\nNEW=\n|
|PORT=1\nON\n|ON\nPORT=1\n|
|ON\n|ON=\n|
|ON\n|ON=true\n|
|PORT=1|PORT|
|PORT=1|PORT=' 1'|
|KEY|KEZ|
""",
    "ini": r"""
|port = 1|port = 2|
|port = 1|part = 1|
|port = 1|Port = 1|
|port = 1\n||
|on\n|on =\n|
|on\n|on\nnew\n|
|[base]|[case]|
|on\n|on\n[new]\n|
|port = 1|port|
|[list]\n||
|key:|kez:|
""",
}
"""What is changed in the text, a line each: types, keys, values, orders, kinds."""


@pytest.mark.parametrize("form", FORMATS)
def test_every_change_of_what_a_document_says_is_refused(form: str, count: Count) -> None:
    """A value, type, key, order, null, item or kind that was changed, inserted or removed by hand is the decryption error."""
    text, changes = small(form).source.text, CHANGES[form].strip("\n").split("\n")
    for change in changes:
        _, old, new, _ = change.replace(r"\n", "\n").split("|")
        assert old in text, old
        changed = small(form).with_text(text.replace(old, new, 1))
        assert type(refusal(changed)) is DecryptionError, (old, new)
    count("changes by hand refused", len(changes))


@pytest.mark.parametrize("form", FORMATS)
def test_a_token_that_is_changed_in_form_is_refused(form: str, count: Count) -> None:
    """Of one token there is one text: padding, white space, other letters, joined and cut tokens are refused, with a good tag, too."""
    document = small(form)
    path, token = next(iter(leaf_tokens(document).items()))
    forms = [
        token[:-1] + "=]",
        token[:-1],
        token + "]",
        token + " ",
        " " + token,
        token + "x",
        "x" + token,
        token * 2,
        token.lower(),
        token.upper(),
        token.replace("sk1", "sk2"),
        token.replace("sk1", "SK1"),
        token[:-2] + "]",
        token[:20] + token[21:],
        token[:20] + " " + token[20:],
        token[:20] + "+" + token[21:],
        token.replace("ENC[sk1,", "ENC[sk1,0"),
        f"ENC[sk1,{token[8:16].upper()},{token[17:]}",
        "ENC[sk1,,]",
        *(token[:-2] + last + "]" for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" if last != token[-2]),
    ]

    tried = 0
    for changed in set(forms) - {token}:
        with suppress(FormatError):  # INI cannot hold white space at the ends
            edited = document.with_text(document.source.replace({path: changed}))
            assert isinstance(refusal(edited), FormatError | DecryptionError)
            assert isinstance(refusal(retagged(edited, keys=keys_of(document))), FormatError | DecryptionError | ConfigError)
            tried += 2
    assert tried > 150
    count("forms of tokens refused", tried)


# The metadata.


@cache
def with_two_keys(form: str) -> Document:
    """Return a document of two sessions, for two recipients."""
    document = small(form, recipients=(WRAPPER, SECOND))
    edit = document.edit(wrappers=[WRAPPER, SECOND], confirmed=[one.key_ref for one in document.required.recipients], clock=clock())
    edit.set(next(iter(leaf_tokens(document))), "a new one")
    return edit.finish()


def edits(block: MetadataBlock, other: MetadataBlock) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield blocks with one entry changed, as they are written."""
    written: dict[str, Any] = dict(block.encode())
    foreign = other.encode()
    first, *more = written["keys"]
    copies = [key.split(" ") for key in written["keys"]]
    crossed = [" ".join([*copies[0][:2], *copies[1][2:]]), " ".join([*copies[1][:2], *copies[0][2:]])]
    reversed_copies = [" ".join([*key[:2], *key[:1:-1]]) for key in copies]
    recipients, patterns = written["recipients"], written["encrypt"]
    entries: dict[str, list[Any]] = {
        "format": ["securekit/config/2", "Securekit/config/1", ["securekit/config/1"]],
        "document": [foreign["document"], "00" * 16, written["document"].upper(), written["document"][2:]],
        "environment": ["staging", "Production", "prod", "-"],
        "generation": ["1", "3", "0", "02", "+2", "2.0", "9007199254740992", "\u0662"],
        "encrypt": [[], patterns[1:], patterns[::-1], [*patterns, "x"], [*patterns, patterns[0]], "**"],
        "recipients": [
            recipients[::-1],
            recipients[:1],
            recipients[:1] * 2,
            [],
            [*recipients, "vault-transit x - - -"],
            foreign["recipients"],
            [recipients[0][:-1] + "me", *recipients[1:]],
        ],
        "keys": [
            written["keys"][::-1],
            more,
            [first],
            [first, *written["keys"]],
            [*written["keys"], more[-1]],
            [],
            foreign["keys"],
            [*written["keys"], *foreign["keys"]],
            [*foreign["keys"], *written["keys"]],
            crossed,
            reversed_copies,
            [key.replace("T", "t", 1) for key in written["keys"]],
            [key.rsplit(" ", 1)[0] for key in written["keys"]],
        ],
        "tag": [foreign["tag"], base64url.encode(bytes(32)), base64url.encode(bytes(31)), written["tag"] + "=", ""],
        "signatures": [["00" * 32 + " "], ["00" * 32 + " QQ"] * 2, ["x"], "x"],
    }
    yield "more", {**written, "more": "x"}
    for name, values in entries.items():
        if written[name]:
            yield name, {**written, name: None}
        for value in values:
            if value != written[name]:
                yield name, {**written, name: value}


@pytest.mark.parametrize("form", FORMATS)
def test_every_change_of_the_metadata_is_refused(form: str, count: Count) -> None:
    """An entry that is changed, missing, doubled, out of order, or another document's, is refused."""
    document = with_two_keys(form)
    other = another(form, WRAPPER, SECOND)
    tried = 0
    for name, metadata in edits(document.required, other.required):
        try:
            changed = document.source.with_metadata({key: value for key, value in metadata.items() if value is not None})
        except FormatError:
            continue  # the format cannot even hold it
        found = outcome(changed.encode(), form)
        assert judge(found, ()), (name, metadata)
        tried += 1
    assert tried > 40
    count("changes of the metadata refused", tried)


@pytest.mark.parametrize("form", FORMATS)
def test_data_keys_are_bound_to_their_place_with_a_good_tag_too(form: str) -> None:
    """Wrapped copies of another document, environment or id, or of another recipient, do not unwrap, whoever made the tag."""
    document = with_two_keys(form)
    block, keys = document.required, {**keys_of(document)}
    other = another(form, WRAPPER, SECOND)
    old, new = block.keys
    transplanted = [
        (old, replace(new, copies=other.required.keys[0].copies)),  # from another document
        (replace(old, copies=new.copies), replace(new, copies=old.copies)),  # of one another
        (replace(old, copies=old.copies[::-1]), replace(new, copies=new.copies[::-1])),  # of another recipient
        (old, replace(new, copies=(*new.copies[:1], new.copies[0]))),
        (old, new, DataKey("00000000", 0, old.copies)),  # under another id
    ]

    for changed in transplanted:
        forged = retagged(document, replace(block, keys=changed), keys | {"00000000": keys[old.id]})
        errors = [outcome(forged.to_bytes(), form, wrapper=wrapper) for wrapper in (WRAPPER, SECOND)]
        assert DecryptionError in map(type, errors)
        assert all(isinstance(error, tuple | DecryptionError) for error in errors)


@pytest.mark.parametrize("form", FORMATS)
def test_a_forged_document_needs_the_signature(form: str) -> None:
    """Whoever knows the public keys alone can make a good tag; where a trust is, that is no help."""
    document, trust = signed(form), trust_in(signed(form), author())
    edit = document.edit(wrappers=[WRAPPER], adopt=True, confirmed=[document.required.recipients[0].key_ref], clock=clock())
    edit.set(next(iter(leaf_tokens(document))), "forged")
    forged = edit.finish()

    assert isinstance(outcome(forged.to_bytes(), form), tuple)
    for signatures in ((), document.required.signatures, forged.sign(author("mallory").key).required.signatures):
        attempt = forged.with_block(replace(forged.required, signatures=signatures))
        assert type(refusal(attempt, trust=trust)) is ConfigError
    older = document.with_block(replace(document.required, tag=forged.required.tag))
    assert type(refusal(older, trust=trust)) is ConfigError
    assert isinstance(outcome(forged.sign(author().key).to_bytes(), form, trust=trust), tuple)


@pytest.mark.parametrize("form", FORMATS)
def test_a_wrong_reader_is_refused(form: str) -> None:
    """Another key is key not found, another environment is refused, and a former recipient opens nothing that was written since."""
    document = sealed(form)
    other = reader(document)
    other.add_recipient(host(1).public)
    both = other.finish()
    edit = reader(both)
    edit.remove_recipient(host().name)
    after = edit.finish()

    assert type(refusal(document, wrapper=host(1).private)) is KeyNotFoundError
    assert type(refusal(after, wrapper=host().private)) is KeyNotFoundError
    assert isinstance(outcome(both.to_bytes(), form, wrapper=host(1).private), tuple)
    with pytest.raises(ConfigError, match="staging"):
        document.check_environment("staging")
