# SPDX-License-Identifier: Apache-2.0
"""Scenarios of configuration documents that must be refused, each for one reason.

Where it says *authentic*, the tag was made anew over what was changed, as whoever knows a data key can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors.golden import config_reference as ref
from tests.vectors.golden.config_reference import Alias, Merge, Tree
from tests.vectors.golden.configs import (
    BASIC,
    DOCUMENT,
    ENV,
    INI,
    NEW,
    NEWEST,
    OLD,
    SIGNED,
    TOML,
    YAML,
    Draft,
    Secret,
    data_key,
    in_order,
    nested,
    recipient,
    signed,
    signer_reference,
)
from tests.vectors.golden.documents import opener
from tests.vectors.golden.reference import b64, base64url
from tests.vectors.golden.scenario import Scenario, Scenarios, changed, drawn
from tests.vectors.golden.wrapped_keys import hpke, keyring, local, private_key

FORMAT, REFUSED, DECRYPTION = "format error", "refused", "decryption error"
TWO = replace(BASIC, keys=(OLD, NEW))


def no(expect: str, note: str, text: str, draft: Draft = BASIC, **more: object) -> Scenario:
    """Return the scenario of a document that must not open."""
    return {"expect": expect, "note": note, **draft.inputs(text), **more}


def authentic(expect: str, note: str, tree: Tree = None, draft: Draft = BASIC, **entries: Any) -> Scenario:
    """Return the scenario of a document with a tag over another tree, or over other entries of the block."""
    return no(expect, note, draft.document(draft.authentic(draft.block(**entries), tree), tree), draft)


def tampered(note: str, change: Callable[[Any], object], draft: Draft = BASIC) -> Scenario:
    """Return the scenario of a document that was changed after its tag was made."""
    tree = draft.tokens()
    change(tree)
    return no(DECRYPTION, note, draft.document(draft.authentic(), tree), draft)


def without(members: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return ``members`` without one of them."""
    return {other: value for other, value in members.items() if other != name}


def refused_configs() -> Scenarios:
    """Return all of them."""
    found = changed_trees() | moved() | tokens() | plaintexts() | ciphertexts() | trees() | blocks() | recipients() | data_keys()
    return found | signature_entries() | copies() | reading() | trust()


def changed_trees() -> Scenarios:
    """Changes that the tag shows."""
    return {
        "changed-clear-value": tampered("a clear value was changed", lambda tree: tree["db"].update(host="db.other")),
        "retyped-number": tampered("a number became a text", lambda tree: tree["db"].update(port="5432")),
        "retyped-float": tampered("an integer became a float", lambda tree: tree["db"].update(port=5432.0)),
        "retyped-boolean": tampered("false became a text", lambda tree: tree["api"].update(debug="false")),
        "retyped-null": tampered("null became an empty text", lambda tree: tree["api"].update(proxy="")),
        "inserted-null": tampered("a null was inserted", lambda tree: tree["db"].update(ca=None)),
        "inserted-empty": tampered("an empty mapping was inserted", lambda tree: tree.update(more={})),
        "removed-key": tampered("a key was removed", lambda tree: tree["db"].pop("port")),
        "removed-token": tampered("a token was removed", lambda tree: tree["db"].pop("password")),
        "removed-item": tampered("the last item of a list was removed", lambda tree: tree["api"]["tokens"].pop()),
        "joined-items": tampered("two items became one", lambda tree: tree["api"].update(tokens=["".join(tree["api"]["tokens"])]))
        | {"expect": FORMAT, "note": "two items became one, which is no token"},
        "joined-clear-items": tampered("two items became one", lambda tree: tree.update(a=["xy"]), CLEAR_LIST),
        "split-item": tampered("one item became two", lambda tree: tree.update(a=["x", "y", ""]), CLEAR_LIST),
        "reordered-keys": tampered("two keys changed places", lambda tree: tree.update(db=tree.pop("db"))),
        "swapped-items": tampered("two items changed places", lambda tree: tree["api"]["tokens"].reverse()),
        "renamed-clear-key": tampered("a key of a clear value was renamed", lambda tree: tree["db"].update(prot=tree["db"].pop("port"))),
        "renamed-key": tampered("a token's key was renamed", lambda tree: tree["db"].update(word=tree["db"].pop("password"))),
        "dotted-key": tampered(
            "a mapping became one key with a dot", lambda tree: tree.update({"db.password": tree["db"].pop("password")})
        ),
        "list-as-mapping": tampered(
            "a list became a mapping", lambda tree: tree["api"].update(tokens=dict(zip("01", tree["api"]["tokens"], strict=True)))
        ),
        "changed-token": tampered("a byte of a token was changed", lambda tree: tree["db"].update(password=flipped(tree, 60))),
        "older-token": tampered("a token was replaced by an older one of its place", lambda tree: tree["db"].update(password=OLDER), TWO),
        "yaml-merge-as-text": no(DECRYPTION, "the merge key became a text", YAML.document().replace("  <<: *d", '  "<<": *d'), YAML),
        "yaml-alias-resolved": no(
            DECRYPTION,
            "an alias was replaced by what it stands for",
            YAML.document().replace("replica: *password", f"replica: {shared()}"),
            YAML,
        ),
        "env-null": no(DECRYPTION, "an empty text became null", ENV.document().replace("EMPTY=\n", "EMPTY\n"), ENV),
        "ini-null": no(DECRYPTION, "null became an empty text", INI.document().replace("flag\n", "flag =\n"), INI),
        "ini-case": no(DECRYPTION, "a key in lower case", INI.document().replace("Host", "host"), INI),
        "toml-local": no(DECRYPTION, "a time lost its offset", TOML.document().replace("09:30:00+02:00", "09:30:00"), TOML),
    }


CLEAR_LIST = Draft({"a": ["x", "y"]})
OLDER = Secret("older", OLD).token(("db", "password"))


def shared() -> str:
    """Return the token that is shared in the YAML document."""
    return str(YAML.tokens()["defaults"]["password"])


def flipped(tree: Tree, position: int) -> str:
    """Return the first token with one bit of one byte changed."""
    sealed = b64(tree["db"]["password"][17:-1])
    return ref.token(NEW, bytes.fromhex(changed(sealed.hex(), position)))


def with_password(password: object) -> Tree:
    """Return the tree of the basic document with something else as its password."""
    tree = BASIC.tokens()
    tree["db"]["password"] = password
    return tree


def moved() -> Scenarios:
    """Tokens where they do not belong, in authentic documents."""
    tree = BASIC.tokens()
    one, two = tree["api"]["tokens"]
    path = ("db", "password")
    places: dict[str, tuple[str, Secret]] = {
        "of-other-document": ("of another document", Secret("x", document=drawn("other document", 16))),
        "of-other-environment": ("of another environment", Secret("x", environment="staging")),
        "of-other-path": ("of another path", Secret("x", path=("db", "pass"))),
        "of-path-above": ("of the mapping above", Secret("x", path=("db",))),
        "of-path-below": ("of a path below", Secret("x", path=(*path, "x"))),
        "of-dotted-path": ("of a key with a dot", Secret("x", path=("db.password",))),
    }
    renamed = {"db": {**without(tree["db"], "password"), "secret": tree["db"]["password"]}, "api": tree["api"]}
    relabelled = tree["db"]["password"].replace(NEW, OLD)
    indices = Draft({"a": [Secret("x", path=("a", "0"))]})
    swapped = {**tree, "api": {**tree["api"], "tokens": [two, one]}}
    inserted = {**tree, "api": {**tree["api"], "tokens": ["new", one, two]}}
    return {
        **{
            f"token-{name}": authentic(DECRYPTION, f"authentic, and with a token {note}", with_password(secret.token(path)))
            for name, (note, secret) in places.items()
        },
        "token-renamed": authentic(DECRYPTION, "authentic, and a token's key was renamed", renamed, encrypt=[]),
        "tokens-swapped": authentic(DECRYPTION, "authentic, and two tokens of a list changed places", swapped),
        "token-moved": authentic(DECRYPTION, "authentic, and an item was inserted above tokens", inserted, encrypt=[]),
        "token-copied": authentic(DECRYPTION, "authentic, and one token stands in two places", with_password(one)),
        "token-of-key": authentic(DECRYPTION, "authentic, and a token of a mapping's key stands at that index", indices.tokens(), indices),
        "token-of-other-key": authentic(DECRYPTION, "authentic, and a token names another data key", with_password(relabelled), TWO),
        "token-of-unknown-key": authentic(
            DECRYPTION, "authentic, and a token names a data key that is not there", with_password(relabelled)
        ),
        "token-under-tag": authentic(
            DECRYPTION, "authentic, and a token's alias became its anchor", yaml_tree_moved(), replace(YAML, text=YAML_MOVED)
        ),
    }


YAML_MOVED = YAML.text.replace("replica: *password", "replica: @db.replica@")


def yaml_tree_moved() -> Tree:
    """Return the YAML document's tree with a token repeated in the place of its alias."""
    tree = YAML.tokens()
    tree["db"]["replica"] = shared()
    return tree


def tokens() -> Scenarios:
    """Texts that begin like a token and are none; and tokens with changed bytes."""
    token: str = BASIC.tokens()["db"]["password"]
    sealed = b64(token[17:-1])
    texts = {
        "no-bracket": ("without its bracket", token[:-1]),
        "garbage-behind": ("with something behind", token + "x"),
        "newline-behind": ("with a line's end behind", token + "\n"),
        "space-behind": ("with a space behind", token + " "),
        "two": ("twice", token * 2),
        "padded": ("with padding", f"{token[:-1]}=]"),
        "plus": ("in the other alphabet", ref.token(NEW, b"\xfb" * 104).replace("-", "+")),
        "trailing-bits": ("with non-zero trailing bits", token[:-2] + chr(ord(token[-2]) + 1) + "]"),
        "impossible": ("of an impossible length of base64url", ref.token(NEW, bytes(105))[:-3] + "]"),
        "white-space": ("with white space within", token[:40] + " " + token[40:]),
        "id-upper-case": ("with an id in capitals", token.replace(NEW, NEW.upper())),
        "id-short": ("with an id of 7 digits", token.replace(NEW, NEW[:-1])),
        "id-long": ("with an id of 9 digits", token.replace(NEW, NEW + "0")),
        "no-id": ("without an id", token.replace(NEW + ",", "")),
        "empty": ("with nothing in it", ref.token(NEW, b"")),
        "short": ("with no step of 16 bytes", ref.token(NEW, sealed[:72])),
        "truncated": ("with a byte less than a step of 16", ref.token(NEW, sealed[:-1])),
        "extended": ("with a byte more", ref.token(NEW, sealed + b"x")),
        "bare": ("that ends behind its beginning", "ENC[sk1,"),
    }
    changes = {"nonce": 0, "nonce-tail": 12, "commitment": 24, "commitment-tail": 55, "ciphertext": 56, "tag": len(sealed) - 1}
    extended = ref.token(NEW, sealed + bytes(16))
    return {
        **{
            f"token-{name}": authentic(FORMAT, f"authentic, and with a token {note}", with_password(text))
            for name, (note, text) in texts.items()
        },
        **{
            f"token-changed-{name}": authentic(
                DECRYPTION, f"authentic, and a byte of a token's {name} was changed", with_password(flipped(BASIC.tokens(), at))
            )
            for name, at in changes.items()
        },
        "token-16-bytes-more": authentic(DECRYPTION, "authentic, and with a token of 16 bytes more", with_password(extended)),
    }


def plaintexts() -> Scenarios:
    """Tokens whose plaintext is no scalar, or no padded one; made by one who knows the data key."""
    faults = {
        "no-padding": ("without padding", b"s" + b"x" * 15),
        "zeros": ("of zeros", bytes(16)),
        "mark": ("with another mark", b"sx" + b"\x81" + bytes(13)),
        "filled": ("with padding that is not zeros", b"sx\x80" + b"\x01" * 13),
        "block-more": ("with 16 bytes of padding too many", ref.padded(b"sx") + bytes(16)),
        "no-type": ("without a type", ref.padded(b"")),
        "type-unknown": ("of an unknown type", ref.padded(b"x1")),
        "type-upper-case": ("with a type in capitals", ref.padded(b"S1")),
        "text-utf-8": ("that is no UTF-8", ref.padded(b"s\xff")),
        "text-overlong": ("in an overlong form", ref.padded(b"s\xc0\x80")),
        "text-surrogate": ("with a lone surrogate", ref.padded(b"s\xed\xa0\x80")),
        "integer-empty": ("that is no integer", ref.padded(b"i")),
        "integer-zeros": ("with leading zeros", ref.padded(b"i007")),
        "integer-plus": ("with a plus", ref.padded(b"i+7")),
        "integer-minus-zero": ("that is minus zero", ref.padded(b"i-0")),
        "integer-underscore": ("with an underscore", ref.padded(b"i1_0")),
        "integer-space": ("with a space", ref.padded(b"i 1")),
        "integer-newline": ("with a line's end", ref.padded(b"i1\n")),
        "integer-other-digits": ("in other digits", ref.padded("i\u0661".encode())),
        "integer-long": ("of 4,301 digits", ref.padded(b"i" + b"1" * 4301)),
        "float-integer": ("without a fraction", ref.padded(b"f1")),
        "float-zeros": ("with a zero too many", ref.padded(b"f1.50")),
        "float-long": ("with more digits than it needs", ref.padded(b"f0.1000000000000000055")),
        "float-exponent": ("with an exponent that it does not need", ref.padded(b"f1e0")),
        "float-upper-case": ("with an exponent in capitals", ref.padded(b"f1E+16")),
        "float-too-large": ("that is too large", ref.padded(b"f1e+400")),
        "float-minus-nan": ("that is minus nan", ref.padded(b"f-nan")),
        "float-infinity": ("that spells infinity", ref.padded(b"finfinity")),
        "boolean-number": ("that is no boolean", ref.padded(b"b1")),
        "boolean-upper-case": ("with a boolean in capitals", ref.padded(b"bTrue")),
        "null-something": ("of a null that is something", ref.padded(b"nnull")),
        "date-short": ("with a day of one digit", ref.padded(b"d2026-11-5")),
        "date-basic": ("in the basic form", ref.padded(b"d20261125")),
        "date-week": ("that is a week's day", ref.padded(b"d2026-W48-3")),
        "date-none": ("that is no date", ref.padded(b"d2026-02-30")),
        "date-space": ("with a space before the time", ref.padded(b"d2026-11-25 09:30:00")),
        "date-zulu": ("with Z", ref.padded(b"d2026-11-25T09:30:00Z")),
        "date-minutes": ("without seconds", ref.padded(b"d2026-11-25T09:30")),
        "date-fraction": ("with a fraction of three digits", ref.padded(b"d2026-11-25T09:30:00.250")),
        "date-no-fraction": ("with a fraction of zeros", ref.padded(b"d09:30:00.000000")),
        "date-24": ("at 24 o'clock", ref.padded(b"d24:00:00")),
    }
    return {
        f"plaintext-{name}": authentic(DECRYPTION, f"authentic, and with a plaintext {note}", with_password(token_of(plaintext)))
        for name, (note, plaintext) in faults.items()
    }


def token_of(plaintext: bytes) -> str:
    """Return a token of this plaintext for the password of the basic document."""
    return Secret("", plaintext=plaintext).token(("db", "password"))


def ciphertexts() -> Scenarios:
    """Ciphertexts that would reach the application, in authentic documents."""
    token: str = BASIC.tokens()["db"]["password"]
    texts = {
        "space-before-token": ("a token behind a space", f" {token}"),
        "token-within": ("a token within a text", f"postgres://app:{token}@db"),
        "token-on-a-line": ("a token on a line of its own", f"a:\n{token}\n"),
        "sk2": ("of a later version", token.replace("sk1", "sk2")),
        "sops": ("of sops", "ENC[AES256_GCM,data:CwE4O1s=,iv:2k=,tag:kw=,type:str]"),
        "eyaml": ("of hiera-eyaml", "ENC[PKCS7,MIIBeQYJKoZIhvcNAQcDoIIBajCCAWYCAQAx]"),
        "sops-behind-lines": ("of sops behind lines' ends", "\n\t ENC[AES256_GCM,data:CwE4O1s=]"),
        "ansible": ("of ansible-vault", "$ANSIBLE_VAULT;1.1;AES256\n6238\n"),
        "dotenvx": ("of dotenvx", "encrypted:" + "BD9r+/aA" * 8),
    }
    return {
        f"foreign-{name}": authentic(REFUSED, f"authentic, and with a ciphertext: {note}", with_password(text), encrypt=[])
        for name, (note, text) in texts.items()
    } | {
        "foreign-yaml": no(REFUSED, "authentic, and with a ciphertext of sops", FOREIGN_YAML.document(), FOREIGN_YAML),
        "foreign-env": no(REFUSED, "authentic, and with a ciphertext of dotenvx", FOREIGN_ENV.document(), FOREIGN_ENV),
    }


FOREIGN_YAML = Draft({"a": ["ENC[AES256_GCM,data:x]"]}, "yaml", "a: ['ENC[AES256_GCM,data:x]']\n")
FOREIGN_ENV = Draft({"A": "encrypted:" + "x" * 64}, "env", f"A=encrypted:{'x' * 64}\n")


def trees() -> Scenarios:
    """Texts that are no tree."""
    yaml, toml, env, ini = (draft.document() for draft in (YAML, TOML, ENV, INI))
    basic = BASIC.document()
    broken: dict[str, tuple[str, str, Draft]] = {
        "json-key-twice": ("a key twice", basic.replace('"debug": false', '"debug": false, "debug": false'), BASIC),
        "json-block-twice": ("two blocks", basic[: basic.rindex("}")] + ', "securekit": {}}', BASIC),
        "json-list": ("a root that is a list", f"[{basic}]", BASIC),
        "json-comment": ("a comment", "// comment\n" + basic, BASIC),
        "json-trailing-comma": ("a comma too many", basic.replace("null\n", "null,\n"), BASIC),
        "json-behind": ("something behind", basic + "{}", BASIC),
        "json-nan": ("not a number", basic.replace("5432", "NaN"), BASIC),
        "json-infinite": ("a number too large", basic.replace("5432", "1e400"), BASIC),
        "json-leading-zero": ("a leading zero", basic.replace("5432", "05432"), BASIC),
        "json-surrogate": ("a lone surrogate", basic.replace("db.example", "\\ud800"), BASIC),
        "json-digits": ("an integer of 4,301 digits", basic.replace("5432", "1" * 4301), BASIC),
        "json-truncated": ("no end", basic[:-3], BASIC),
        "json-65-levels": ("65 mappings and lists inside each other", Draft(nested(64)).document(), Draft({})),
        "yaml-key-twice": ("a key twice", yaml.replace("  pool: 5\n", "  pool: 5\n  pool: 5\n"), YAML),
        "yaml-merge-twice": ("a merge key twice", yaml.replace("  <<: *defaults\n", "  <<: *defaults\n" * 2), YAML),
        "yaml-two-documents": ("a second document", yaml + "--- {}\n", YAML),
        "yaml-list": ("a root that is a list", "- a\n", YAML),
        "yaml-tag": ("another tag", yaml.replace("pool: 5", "pool: !vault 5"), YAML),
        "yaml-set": ("a set", yaml.replace("pool: 5", "pool: !!set {a}"), YAML),
        "yaml-number-key": ("a key that is no text", yaml.replace("pool: 5", "1: 5"), YAML),
        "yaml-anchor-twice": ("an anchor twice", yaml.replace("pool: 5", "pool: &defaults 5"), YAML),
        "yaml-recursive": ("a recursive alias", yaml.replace("pool: 5", "pool: *defaults"), YAML),
        "yaml-unknown-alias": ("an alias without an anchor", yaml.replace("replica: *password", "replica: *nobody"), YAML),
        "yaml-merge-of-mapping": ("a merge of a mapping that is no alias", yaml.replace("<<: *defaults", "<<: {a: 1}"), YAML),
        "yaml-merge-of-scalar": ("a merge of an alias of a text", yaml.replace("<<: *defaults", "<<: *password"), YAML),
        "yaml-anchor-in-block": ("an anchor in the block", yaml.replace('format: "', 'format: &f "'), YAML),
        "yaml-bytes-in-block": ("bytes in the place of a list", yaml.replace("signatures: []", 'signatures: !!binary ""'), YAML),
        "yaml-date": ("a date that is none", yaml.replace("since: 2026-11-25", "since: 2026-02-30"), YAML),
        "yaml-tabs": ("indentation by tabs", yaml.replace("  pool", "\tpool"), YAML),
        "toml-key-twice": ("a key twice", toml.replace("port = 5_432\n", "port = 5_432\nport = 5_432\n"), TOML),
        "toml-open": ("a text without its end", toml.replace("title = 'an example'", "title = 'an example"), TOML),
        "env-key-twice": ("a key twice", env.replace("FLAG\n", "FLAG\nFLAG\n"), ENV),
        "env-open": ("a quote without its end", env.replace('"a\\nb"', '"a\\nb'), ENV),
        "env-block-apart": ("a block in two places", env.replace("# a comment", "# securekit format securekit/config/1\n# a comment"), ENV),
        "env-line-of-block": ("a line of the block that is none", env + "# securekit TAG x\n", ENV),
        "env-tag-twice": ("a tag twice", env + "# securekit tag " + "A" * 43 + "\n", ENV),
        "ini-key-twice": ("a key twice", ini.replace("flag\n", "flag\nflag\n"), INI),
        "ini-section-twice": ("a section twice", ini.replace("[web.tls]", "[db]"), INI),
        "ini-no-section": ("a key above the sections", "a = 1\n" + ini, INI),
        "ini-block-in-value": (
            "a line of the block within a value",
            ini.replace("db.example ; no comment\n", "db.example\n# securekit tag x\n  more\n"),
            INI,
        ),
    }
    return {name: no(FORMAT, f"has {note}", text, draft) for name, (note, text, draft) in broken.items()}


def blocks() -> Scenarios:
    """Blocks with entries that are missing, too many, of another form, or out of bounds."""
    block = BASIC.authentic()
    faults: dict[str, tuple[str, Any]] = {
        "more": ("an entry more", {**block, "note": "hello"}),
        "not-a-mapping": ("a block that is a text", "securekit/config/1"),
        "empty": ("an empty block", {}),
        "list": ("a block that is a list", []),
        "tag-short": ("a tag of 31 bytes", {**block, "tag": base64url(bytes(31))}),
        "tag-long": ("a tag of 33 bytes", {**block, "tag": base64url(bytes(33))}),
        "tag-padded": ("a padded tag", {**block, "tag": block["tag"] + "="}),
        "tag-trailing-bits": ("a tag with non-zero trailing bits", {**block, "tag": "A" * 42 + "B"}),
        "tag-empty": ("an empty tag", {**block, "tag": ""}),
        "tag-list": ("a tag that is a list", {**block, "tag": [block["tag"]]}),
        "signatures-text": ("signatures that are a text", {**block, "signatures": ""}),
    }
    entries: dict[str, tuple[str, str, object]] = {
        "format-2": ("another format", "format", "securekit/config/2"),
        "format-list": ("a format that is a list", "format", ["securekit/config/1"]),
        "document-upper-case": ("a document id in capitals", "document", DOCUMENT.hex().upper()),
        "document-short": ("a document id of 15 bytes", "document", DOCUMENT.hex()[2:]),
        "document-uuid": ("a document id with hyphens", "document", "00000000-0000-0000-0000-000000000000"),
        "environment-empty": ("an empty environment", "environment", ""),
        "environment-long": ("an environment of 65 characters", "environment", "p" * 65),
        "environment-dash": ("an environment that begins with -", "environment", "-production"),
        "environment-unicode": ("an environment beyond ASCII", "environment", "produ\u00e7\u00e3o"),
        "environment-slash": ("an environment with a slash", "environment", "a/b"),
        "generation-0": ("generation 0", "generation", "0"),
        "generation-negative": ("a negative generation", "generation", "-1"),
        "generation-leading-zero": ("a generation with a leading zero", "generation", "01"),
        "generation-plus": ("a generation with a plus", "generation", "+1"),
        "generation-space": ("a generation with a space", "generation", " 1"),
        "generation-large": ("generation 2^53", "generation", "9007199254740992"),
        "generation-other-digits": ("a generation in other digits", "generation", "\u0661"),
        "generation-number": ("a generation that is a number", "generation", 1),
        "encrypt-text": ("patterns that are a text", "encrypt", "db.password"),
        "encrypt-number": ("a pattern that is a number", "encrypt", [1]),
        "encrypt-empty": ("an empty pattern", "encrypt", [""]),
        "encrypt-long": ("a pattern of 513 characters", "encrypt", ["x" * 513]),
        "encrypt-many": ("257 patterns", "encrypt", ["x"] * 257),
        "encrypt-dots": ("a pattern with two dots", "encrypt", ["a..b"]),
        "encrypt-bracket": ("a pattern with an open bracket", "encrypt", ["a["]),
        "encrypt-index": ("a pattern whose index has a leading zero", "encrypt", ["a[01]"]),
        "encrypt-deep": ("a pattern with three **", "encrypt", ["**.a.**.b.**"]),
        "encrypt-control": ("a pattern that is not printable", "encrypt", ["a\u0007"]),
        "recipients-none": ("no recipients", "recipients", []),
        "keys-none": ("no data keys", "keys", []),
        "keys-text": ("data keys that are a text", "keys", ""),
    }
    return {
        **{f"no-{name}": no(FORMAT, f"has no {name}", BASIC.document(without(block, name))) for name in ref.ENTRIES},
        **{f"block-{name}": no(FORMAT, f"has {note}", BASIC.document(value)) for name, (note, value) in faults.items()},
        **{name: no(FORMAT, f"has {note}", BASIC.document({**block, entry: value})) for name, (note, entry, value) in entries.items()},
    }


def recipients() -> Scenarios:
    """Recipients of another form or order; all else is authentic."""
    mine, spki = recipient(local()), recipient(hpke("p256")).split(" ")[1]
    compressed = private_key("p256").public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert len(compressed) == 33
    two, names = replace(BASIC, recipients=("local", "p256")), in_order(("local", "p256"))
    ordered = two.block()["recipients"]
    swapped = [data_key(NEW, names[::-1])]
    reference = mine.split(" ")[1]
    texts = {
        "four-fields": ("with four fields", f"local {reference} - -"),
        "two-spaces": ("with two spaces", mine.replace(" - -", "  - -")),
        "no-subject": ("with an empty subject", f"local {reference} - - "),
        "subject-space": ("with a space behind its subject", f"local {reference} - - a "),
        "wrapper-upper-case": ("with a wrapper in capitals", mine.replace("local", "Local")),
        "wrapper-long": ("with a wrapper's name of 65 characters", mine.replace("local", "l" * 65)),
        "fingerprint-upper-case": ("with a fingerprint in capitals", f"local {reference} {'AB' * 32} - -"),
        "fingerprint-short": ("with a fingerprint of 31 bytes", f"local {reference} {'ab' * 31} - -"),
        "time": ("with a last moment that is none", f"local {reference} - 2026-02-30T00:00:00Z -"),
        "time-offset": ("with a last moment of another form", f"local {reference} - 2026-02-03T00:00:00+ -"),
        "control": ("with a subject that is not printable", f"local {reference} - - a\u001b[2Jb"),
        "key-padded": ("with a padded public key", f"x509-hpke-p256 {spki}= - - -"),
        "key-trailing-bits": ("with non-zero trailing bits in its public key", "x509-hpke-p256 AB - - -"),
        "reference-unicode": ("with a reference beyond ASCII", "vault-transit \u00e9 - - -"),
        "reference-long": ("with a reference of 701 characters", f"vault-transit {'k' * 701} - - -"),
    }
    crowd = [f"vault-transit key-{number:02} - - -" for number in range(64)]
    many = data_key(NEW, ["local"]) + " QQ" * 64
    return {
        **{
            f"recipient-{name}": authentic(FORMAT, f"authentic, and with a recipient {note}", recipients=[text])
            for name, (note, text) in texts.items()
        },
        "recipients-order": authentic(
            FORMAT, "authentic, and with recipients out of order", None, two, recipients=ordered[::-1], keys=swapped
        ),
        "recipients-twice": authentic(
            FORMAT, "authentic, and with a recipient twice", None, BASIC, recipients=[mine, mine], keys=[data_key(NEW, ["local", "local"])]
        ),
        "65-recipients": authentic(FORMAT, "authentic, and with 65 recipients", None, BASIC, recipients=[mine, *crowd], keys=[many]),
    }


def data_keys() -> Scenarios:
    """Data keys of another form; all else is authentic."""
    mine = data_key(NEW, ["local"])
    _, made, copy = mine.split(" ")
    texts = {
        "no-copy": ("without a copy", f"{NEW} {made}"),
        "copy-more": ("with a copy more than there are recipients", f"{mine} {copy}"),
        "alone": ("that is an id alone", NEW),
        "two-spaces": ("with two spaces", f"{NEW} {made}  {copy}"),
        "space-behind": ("with a space behind", f"{mine} "),
        "id-upper-case": ("with an id in capitals", mine.replace(NEW, NEW.upper())),
        "id-short": ("with an id of 7 digits", mine.replace(NEW, NEW[1:])),
        "time-none": ("that was made at no time", mine.replace(made, "-")),
        "time-offset": ("with a time of another form", mine.replace("Z ", "+00:00 ")),
        "copy-padded": ("with a padded copy", f"{mine}="),
        "copy-trailing-bits": ("with non-zero trailing bits", f"{NEW} {made} AB"),
        "copy-long": ("with a copy of 3,073 bytes", f"{NEW} {made} {base64url(bytes(3073))}"),
        "copy-short": ("with a copy of another length than its wrapper's", f"{NEW} {made} {copy[:-4]}"),
    }
    many = [mine.replace(NEW, f"{number:08x}") for number in range(64)]
    return {
        **{f"key-{name}": authentic(FORMAT, f"authentic, and with a data key {note}", keys=[text]) for name, (note, text) in texts.items()},
        "keys-twice": authentic(FORMAT, "authentic, and with one data key twice", keys=[mine, mine]),
        "65-keys": authentic(FORMAT, "authentic, and with 65 data keys", keys=[*many, mine]),
    }


def signature_entries() -> Scenarios:
    """Signatures of another form, where nobody looks at them."""
    block = BASIC.authentic()
    one, two = f"{'0a' * 32} QQ", f"{'0b' * 32} QQ"
    lists = {
        "order": ("out of order", [two, one]),
        "twice": ("twice by one signer", [one, one.replace("QQ", "Qg")]),
        "many": ("of 17 signers", [f"{number:064x} QQ" for number in range(17)]),
        "empty": ("with nothing in it", [f"{'0a' * 32} "]),
        "alone": ("without a space", ["0a" * 32]),
        "long": ("of 1,025 bytes", [f"{'0a' * 32} {base64url(bytes(1025))}"]),
        "padded": ("with padding", [f"{one}=="]),
        "trailing-bits": ("with non-zero trailing bits", [f"{'0a' * 32} QR"]),
        "upper-case": ("of a signer in capitals", [one.replace("a", "A")]),
        "space-behind": ("with a space behind", [f"{one} "]),
    }
    return {
        f"signature-{name}": no(FORMAT, f"has a signature {note}", BASIC.document({**block, "signatures": texts}))
        for name, (note, texts) in lists.items()
    }


def copies() -> Scenarios:
    """Wrapped copies that are another's; the tag is over them as they are."""
    block, names = TWO.block(), ["local"]
    first, second = block["keys"]

    def with_copy(line: str, other: str) -> str:
        return " ".join([*line.split(" ")[:2], *other.split(" ")[2:]])

    forged = data_key(NEW, names)
    broken = forged[:-8] + ("A" if forged[-8] != "A" else "B") + forged[-7:]
    bound = {
        "of-other-document": ("another document", data_key(NEW, names, document=drawn("other document", 16))),
        "of-other-environment": ("another environment", data_key(NEW, names, environment="staging")),
        "of-other-key": ("another data key's id", data_key(NEW, names, bound=OLD)),
    }
    pair = replace(TWO, recipients=("p256", "x25519"))
    crossed = " ".join([*(parts := data_key(NEW, in_order(pair.recipients)).split(" "))[:2], *parts[:1:-1]])
    return {
        **{
            f"copy-{name}": authentic(DECRYPTION, f"authentic, and with a copy that is bound to {note}", keys=[line])
            for name, (note, line) in bound.items()
        },
        "copy-changed": authentic(DECRYPTION, "authentic, and a copy was changed", keys=[broken]),
        "copies-swapped": authentic(
            DECRYPTION,
            "authentic, and the copies of two data keys were swapped",
            None,
            TWO,
            keys=[with_copy(first, second), with_copy(second, first)],
        ),
        "copies-crossed": authentic(
            FORMAT,
            "authentic, and the copies of two recipients were swapped, which differ in length",
            None,
            pair,
            keys=[pair.block()["keys"][0], crossed],
        ),
        "keys-swapped": no(
            DECRYPTION, "the lines of two data keys were swapped", TWO.document({**TWO.authentic(), "keys": [second, first]}), TWO
        ),
        "key-removed": no(DECRYPTION, "a data key that nothing uses was removed", TWO.document({**TWO.authentic(), "keys": [second]}), TWO),
        "key-added": no(DECRYPTION, "a data key was added above", BASIC.document({**BASIC.authentic(), "keys": TWO.block()["keys"]})),
        "key-of-stranger": no(
            DECRYPTION,
            "a data key that the author of the tag did not know was put behind",
            BASIC.document({**BASIC.authentic(), "keys": [*BASIC.block()["keys"], data_key(NEWEST, names)]}),
        ),
        "key-time": no(
            DECRYPTION,
            "the time of a data key was changed",
            BASIC.document({**BASIC.authentic(), "keys": [data_key(NEW, names, made="2026-02-03T04:05:07Z")]}),
        ),
    }


CLEAR_ALIAS = Draft({"a": 1, "b": {"x": Alias(("a",))}}, "yaml", "a: &a 1\nb: {x: *a}\n", patterns=("b.x",))
CLEAR_BELOW = Draft({"a": {"x": 1}, "b": [Alias(("a",))]}, "yaml", "a: &a {x: 1}\nb: [*a]\n", patterns=("b[0].x",))
CLEAR_MERGE = Draft({"a": {"x": 1}, "b": {Merge.MERGE: Alias(("a",))}}, "yaml", "a: &a {x: 1}\nb: {<<: *a}\n", patterns=("b.x",))


def reading() -> Scenarios:
    """Documents that are right, and are not for this reader; and those whose block was changed."""
    block = BASIC.authentic()
    changes: dict[str, tuple[str, str, object]] = {
        "changed-tag": ("the tag", "tag", base64url(bytes(32))),
        "changed-generation": ("the generation", "generation", "2"),
        "changed-patterns": ("the patterns", "encrypt", ["db.password"]),
        "changed-order-of-patterns": ("the order of the patterns", "encrypt", ["api.tokens", "db.password"]),
        "changed-subject": ("what a recipient is called", "recipients", [recipient(local(), subject="me")]),
        "changed-document": ("the document id", "document", "00" * 16),
    }
    stranger = BASIC.block(recipients=[recipient(local()), "vault-transit app - - -"])
    staging = data_key(NEW, ["local"], environment="staging")
    clear = {
        "clear-secret": ("a text", "secret"),
        "clear-null": ("null", None),
        "clear-number": ("a number", 1),
        "clear-below": ("in a mapping", {"deep": [{"er": True}]}),
        "clear-encrypted-otherwise": ("that is encoded", "c2VjcmV0"),
    }
    return {
        **{
            name: no(DECRYPTION, f"{note} was changed", BASIC.document({**block, entry: value}))
            for name, (note, entry, value) in changes.items()
        },
        **{
            name: authentic(REFUSED, f"authentic, and at a pattern stands a clear value: {note}", with_password(value))
            for name, (note, value) in clear.items()
        },
        "clear-alias": no(REFUSED, "authentic, and a pattern matches an alias of a clear value", CLEAR_ALIAS.document(), CLEAR_ALIAS),
        "clear-below-alias": no(
            REFUSED, "authentic, and a pattern matches a clear value below an alias", CLEAR_BELOW.document(), CLEAR_BELOW
        ),
        "clear-merge": no(
            REFUSED, "authentic, and a pattern matches a clear value that a merge key repeats", CLEAR_MERGE.document(), CLEAR_MERGE
        ),
        "added-recipient": no(
            FORMAT, "a recipient was added, without copies", BASIC.document({**block, "recipients": stranger["recipients"]})
        ),
        "no-block": no(REFUSED, "nothing in it is encrypted", json.dumps({"db": {"password": "secret"}})),
        "no-block-yaml": no(REFUSED, "nothing in it is encrypted", "db: {password: secret}\n", YAML),
        "other-environment": no(REFUSED, "the reader is of another environment", BASIC.document(), environment="staging"),
        "of-other-environment": authentic(REFUSED, "authentic, and of another environment", environment="staging", keys=[staging]),
        "environment-case": no(REFUSED, "the reader asks in capitals", BASIC.document(), environment="Production"),
        "no-recipient": no("key not found", "the reader is no recipient", BASIC.document(), openers=[opener(hpke("p256"))]),
        "no-wrapper": no("key not found", "the reader has no key", BASIC.document(), openers=[]),
        "denied": no("denied", "the parent's key is disabled", INI.document(), INI, openers=[opener(keyring(), parent_state="disabled")]),
        "foreign-kek": no(
            "key not found", "the reader has another local key", BASIC.document(), openers=[opener(local("", kek=drawn("other", 32)))]
        ),
    }


def trust() -> Scenarios:
    """Documents that nobody who is believed has signed."""
    block = SIGNED.authentic()
    canonical, tag = ref.canonical(SIGNED.tokens(), block), b64(block["tag"])
    message = ref.signed(canonical, tag)

    def with_signatures(*texts: str) -> str:
        return SIGNED.document({**block, "signatures": sorted(texts)})

    mine = block["signatures"][0]
    forged = f"{signer_reference('alice')} {signed('bob', message).split(' ')[1]}"
    other = ref.signed(ref.canonical(SIGNED.tokens(), SIGNED.block(generation="2")), tag)
    value = b64(mine.split(" ")[1])
    flipped_signature = f"{signer_reference('alice')} {base64url(bytes([value[0] ^ 1]) + value[1:])}"
    edited = SIGNED.tokens()
    edited["db"]["host"] = "db.other"
    retagged = {**SIGNED.authentic(tree=edited), "signatures": block["signatures"]}
    pss = replace(SIGNED, signers=("rsa3072",), trusted=("rsa3072",))
    curve = replace(SIGNED, signers=("p256",), trusted=("p256",))
    return {
        "unsigned": no(REFUSED, "is not signed", with_signatures(), SIGNED),
        "signed-by-a-stranger": no(REFUSED, "is signed by somebody else", with_signatures(signed("bob", message)), SIGNED),
        "signed-in-the-name": no(REFUSED, "has a signature by somebody else in the signer's name", with_signatures(forged), SIGNED),
        "signed-other-generation": no(REFUSED, "has a signature over another generation", with_signatures(signed("alice", other)), SIGNED),
        "signed-canonical-alone": no(
            REFUSED, "has a signature over the canonical document alone", with_signatures(signed("alice", canonical)), SIGNED
        ),
        "signed-tag-alone": no(REFUSED, "has a signature over the tag alone", with_signatures(signed("alice", tag)), SIGNED),
        "signed-changed": no(REFUSED, "has a signature that was changed", with_signatures(flipped_signature), SIGNED),
        "signed-truncated": no(
            REFUSED, "has a signature that was cut", with_signatures(f"{signer_reference('alice')} {base64url(value[:-1])}"), SIGNED
        ),
        "signed-then-changed": no(REFUSED, "was changed, and tagged anew, since it was signed", SIGNED.document(retagged, edited), SIGNED),
        "signed-then-tag-changed": no(
            REFUSED, "has another tag than the one that was signed", SIGNED.document({**block, "tag": base64url(bytes(32))}), SIGNED
        ),
        "signed-without-tag": no(DECRYPTION, "is signed, and its tag is wrong", SIGNED.document(signed_anyhow()), SIGNED),
        "signed-one-of-two-wrong": no(
            REFUSED,
            "has one good signature, and one of a signer that does not verify",
            with_signatures(mine, mine.replace(signer_reference("alice"), signer_reference("bob"))),
            replace(SIGNED, trusted=("alice", "bob")),
        ),
        "signed-p256-der": no(REFUSED, "has a signature of another form, DER", signed_in_der(curve), curve),
        "signed-rsa-zero": no(REFUSED, "has a signature of zeros", zeros(pss, 384), pss),
        "signed-p256-zero": no(REFUSED, "has a signature of zeros", zeros(curve, 64), curve),
    }


def signed_anyhow() -> dict[str, Any]:
    """Return a block with a wrong tag, and a signature over just that."""
    block = SIGNED.block()
    return {
        **block,
        "tag": base64url(bytes(32)),
        "signatures": [signed("alice", ref.signed(ref.canonical(SIGNED.tokens(), block), bytes(32)))],
    }


def signed_in_der(draft: Draft) -> str:
    """Return a document whose ECDSA signature is in DER."""
    block = draft.authentic()
    reference, value = block["signatures"][0].split(" ")
    raw = b64(value)
    numbers = [number if number[0] < 0x80 else b"\x00" + number for number in (raw[:32].lstrip(b"\x00"), raw[32:].lstrip(b"\x00"))]
    body = b"".join(b"\x02" + bytes([len(number)]) + number for number in numbers)
    return draft.document({**block, "signatures": [f"{reference} {base64url(b'0' + bytes([len(body)]) + body)}"]})


def zeros(draft: Draft, size: int) -> str:
    """Return a document whose signature is zeros."""
    block = draft.authentic()
    return draft.document({**block, "signatures": [f"{block['signatures'][0].split(' ')[0]} {base64url(bytes(size))}"]})
