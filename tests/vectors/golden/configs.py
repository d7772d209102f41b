# SPDX-License-Identifier: Apache-2.0
"""Scenarios of configuration documents that open: ``docs/spec/config.md``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache, partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from tests.vectors.golden import config_reference as ref
from tests.vectors.golden import reference
from tests.vectors.golden.config_reference import MERGE, Alias, Path, Tree
from tests.vectors.golden.documents import opener
from tests.vectors.golden.reference import base64url
from tests.vectors.golden.scenario import Scenario, Scenarios, drawn
from tests.vectors.golden.wrapped_keys import hpke, keyring, local, post_quantum, private_key, rsa

DOCUMENT = drawn("document id", 16)
OLD, NEW, NEWEST = "9f3a01c2", "0a0b0c0d", "11223344"
DATA_KEYS = {key_id: drawn(f"data key {key_id}", 32) for key_id in (OLD, NEW, NEWEST)}
ENVIRONMENT = "production"
TIMES = {OLD: "2026-01-02T03:04:05Z", NEW: "2026-02-03T04:05:06Z", NEWEST: "2026-03-04T05:06:07Z"}
WRAPPERS: dict[str, Callable[..., Scenario]] = {
    "local": local,
    "labelled": partial(local, "eu-1"),
    "p256": partial(hpke, "p256"),
    "p384": partial(hpke, "p384"),
    "x25519": partial(hpke, "x25519"),
    "rsa": partial(rsa, 3072),
    "xwing": post_quantum,
    "keyring": keyring,
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is encrypted, under which data key, and the place that it is bound to if that is not its own."""

    value: Any
    key: str = NEW
    path: Path | None = None
    document: bytes = DOCUMENT
    environment: str = ENVIRONMENT
    plaintext: bytes | None = None  # padded, in the place of the value's own

    def token(self, path: Path) -> str:
        """Return the token that stands at ``path``."""
        place = path if self.path is None else self.path
        sealed = ref.sealed_value(
            DATA_KEYS[self.key],
            ref.padded(ref.encoded(self.value)) if self.plaintext is None else self.plaintext,
            document=self.document,
            environment=self.environment,
            key_id=self.key,
            path=place,
            nonce=drawn(f"nonce of {self.key} {place}", 24),
        )
        return ref.token(self.key, sealed["message"])


@dataclass(frozen=True, slots=True)
class Draft:
    """A document from which scenarios are made. In ``text``, ``@path@`` is the place of a token; JSON needs none."""

    tree: Tree
    form: str = "json"
    text: str = ""
    patterns: tuple[str, ...] = ()
    keys: tuple[str, ...] = (NEW,)
    recipients: tuple[str, ...] = ("local",)
    signers: tuple[str, ...] = ()  # who have signed
    trusted: tuple[str, ...] = ()  # of whom one must have signed

    def block(self, **entries: Any) -> dict[str, Any]:
        """Return the metadata, not authenticated yet, with other entries in the place of its own."""
        names = in_order(self.recipients)
        own = {
            "format": "securekit/config/1",
            "document": DOCUMENT.hex(),
            "environment": ENVIRONMENT,
            "generation": "1",
            "encrypt": list(self.patterns),
            "recipients": [recipient(WRAPPERS[name]()) for name in names],
            "keys": [data_key(key_id, names) for key_id in self.keys],
            "tag": "",
            "signatures": [],
        }
        return own | entries

    def tokens(self) -> Tree:
        """Return the tree with tokens."""
        return sealed_tree(self.tree, ())

    def authentic(self, block: Mapping[str, Any] | None = None, tree: Tree = None) -> dict[str, Any]:
        """Return the block with a tag, and with signatures, over the tree."""
        block = self.block() if block is None else block
        canonical = ref.canonical(self.tokens() if tree is None else tree, block)
        tag = ref.integrity_tag(DATA_KEYS[self.keys[-1]], canonical)
        message = ref.signed(canonical, tag)
        return {**block, "tag": base64url(tag), "signatures": sorted(signed(name, message) for name in self.signers)}

    def document(self, block: Mapping[str, Any] | None = None, tree: Tree = None) -> str:
        """Return the text of a document with this block, the authentic one unless given."""
        block = self.authentic() if block is None else block
        tree = self.tokens() if tree is None else tree
        if self.form == "json":
            return json.dumps({**tree, "securekit": block}, indent=1, ensure_ascii=False) + "\n"
        places = {ref.written(path): value for path, value in scalars(tree)}
        text = re.sub(r"@([^@\n]+)@", lambda found: places[found[1]], self.text)
        return text + BLOCKS[self.form](block)

    def inputs(self, text: str) -> Scenario:
        """Return what is tried."""
        return {
            "format": self.form,
            "document": text,
            "environment": ENVIRONMENT,
            "openers": [opener(WRAPPERS[name]()) for name in self.recipients],
            **({"signers": [certificate(name) for name in self.trusted]} if self.trusted else {}),
        }

    def opens(self, note: str = "", text: str | None = None, **entries: Any) -> Scenario:
        """Return the scenario of the document, which opens."""
        block = self.authentic(self.block(**entries))
        return {
            "expect": "success",
            **({"note": note} if note else {}),
            **self.inputs(self.document(block) if text is None else text),
            "canonical": ref.canonical(self.tokens(), block).hex(),
            "data_keys": {key_id: DATA_KEYS[key_id].hex() for key_id in self.keys},
            "values": {ref.written(path): ref.encoded(value).hex() for path, value in scalars(self.tree)},
        }


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of wrappers in the order of recipients."""
    return sorted(names, key=lambda name: [WRAPPERS[name]()[part] for part in ("wrapper", "key_ref")])


def sealed_tree(tree: Tree, path: Path) -> Tree:
    """Return a tree with tokens in the place of secrets."""
    if isinstance(tree, dict):
        return {key: sealed_tree(value, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [sealed_tree(value, (*path, index)) for index, value in enumerate(tree)]
    return tree.token(path) if isinstance(tree, Secret) else tree


def scalars(tree: Tree, path: Path = ()) -> list[tuple[Path, Any]]:
    """Return each scalar with its path; what an alias or a merge key repeats is not repeated."""
    if isinstance(tree, Secret):
        return [(path, tree.value)]
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        return [] if isinstance(tree, Alias) else [(path, tree)]
    return [found for key, value in items if key is not MERGE for found in scalars(value, (*path, key))]


def recipient(scenario: Scenario, fingerprint: str = "-", not_after: str = "-", subject: str = "-") -> str:
    """Return a recipient's text from the scenario of a wrapped key."""
    if "private_key" in scenario:
        second = base64url(public_key(scenario["private_key"]))
    else:
        second = base64url(bytes.fromhex(scenario["public_key"])) if "public_key" in scenario else scenario["key_ref"]
    return " ".join([scenario["wrapper"], second or "-", fingerprint, not_after, subject])


@cache
def public_key(pem: str) -> bytes:
    """Return the SubjectPublicKeyInfo of a private key."""
    return load_pem_private_key(pem.encode(), None).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def data_key(
    key_id: str, recipients: list[str], *, made: str = "", document: bytes = DOCUMENT, environment: str = ENVIRONMENT, bound: str = ""
) -> str:
    """Return a data key's text, wrapped to the recipients in their order."""
    binding: list[reference.Part] = ["config", document, environment, bytes.fromhex(bound or key_id)]
    package = reference.package(DATA_KEYS[key_id], binding)
    copies = [base64url(bytes.fromhex(WRAPPERS[name](package=package)["ciphertext"])) for name in recipients]
    return " ".join([key_id, made or TIMES[key_id], *copies])


def yaml_block(block: Mapping[str, Any]) -> str:
    """Return the metadata in YAML."""
    lines = ["securekit:"]
    for name, value in block.items():
        items = [f"    - {json.dumps(item)}" for item in value]
        lines += [f"  {name}: {json.dumps(value)}"] if isinstance(value, str) or not value else [f"  {name}:", *items]
    return "\n".join(lines) + "\n"


def toml_block(block: Mapping[str, Any]) -> str:
    """Return the metadata in TOML."""
    return "\n".join(["[securekit]", *(f"{name} = {json.dumps(value)}" for name, value in block.items())]) + "\n"


def comment_block(block: Mapping[str, Any]) -> str:
    """Return the metadata in comment lines."""
    texts = [(name, text) for name, value in block.items() for text in ([value] if isinstance(value, str) else value)]
    return "".join(f"# securekit {name} {text}\n" for name, text in texts)


BLOCKS = {"yaml": yaml_block, "toml": toml_block, "env": comment_block, "ini": comment_block}


def signing_key(name: str) -> Any:
    """Return the private key of a signer: of that kind, or an Ed25519 key of that name."""
    if name in ("p256", "p384", "rsa3072"):
        return private_key(name)
    return ed25519.Ed25519PrivateKey.from_private_bytes(drawn(f"signer {name}", 32))


def signer_reference(name: str) -> str:
    """Return how a signature names its signer."""
    return reference.spki_hash(signing_key(name).public_key())


def signed(name: str, message: bytes) -> str:
    """Return a signature's text."""
    return f"{signer_reference(name)} {base64url(ref.signature(signing_key(name), message))}"


@cache
def certificate(name: str) -> str:
    """Return a signer's certificate in PEM, issued with an Ed25519 key so that it comes out the same every time."""
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "authority"))
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=signing_key(name).public_key(),
        serial_number=1,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(9999, 12, 31, tzinfo=UTC),
    )
    return builder.sign(signing_key("authority"), None).public_bytes(Encoding.PEM).decode()


ALL_TYPES = {
    "text": "p\u00e4ssw\u00f6rd \U0001f511",
    "empty": "",
    "long": "x" * 100,
    "fifteen": "f" * 14,
    "sixteen": "f" * 15,
    "token": "no ciphertext",
    "integer": 5432,
    "negative": -1,
    "zero": 0,
    "huge": 10**40,
    "float": 0.1,
    "float-exponent": 1e16,
    "float-small": 5e-324,
    "float-minus-zero": -0.0,
    "float-inf": float("-inf"),
    "float-nan": float("nan"),
    "true": True,
    "false": False,
    "null": None,
    "bytes": bytes(range(256)),
    "no-bytes": b"",
    "date": date(2026, 11, 25),
    "first-date": date(1, 1, 1),
    "time": time(9, 30),
    "time-fraction": time(9, 30, 0, 1),
    "local": datetime(2026, 11, 25, 9, 30),  # noqa: DTZ001 - a local time has no zone
    "utc": datetime(2026, 11, 25, 9, 30, tzinfo=UTC),
    "offset": datetime(2026, 11, 25, 9, 30, 15, 250000, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
}

BASIC = Draft(
    {
        "db": {"host": "db.example", "port": 5432, "password": Secret("correct horse")},
        "api": {"tokens": [Secret("one"), Secret("two")], "debug": False, "proxy": None},
    },
    patterns=("db.password", "api.tokens"),
)
SIGNED = replace(BASIC, signers=("alice",), trusted=("alice",))

YAML = Draft(
    {
        "defaults": {"pool": 5, "password": Secret("shared", OLD)},
        "db": {MERGE: Alias(("defaults",)), "host": "db.example", "replica": Alias(("defaults", "password"))},
        "cache": {MERGE: [Alias(("defaults",)), Alias(("db",))], "<<": "a text"},
        "servers": [{"name": "a", "token": Secret("first")}, {"name": "b", "token": Secret("second", OLD)}],
        "motd": "two\nlines\n",
        "since": date(2026, 11, 25),
        "at": datetime(2026, 11, 25, 9, 30, tzinfo=UTC),
        "raw": b"\x00\xff",
        "half": 0.5,
        "answer": True,
        "nothing": None,
        "empty": {},
        "none": [],
    },
    "yaml",
    """\
# comments are not part of the tree
defaults: &defaults
  pool: 5
  password: &password @defaults.password@   # a token is no other than its text
db:
  <<: *defaults
  host: 'db.example'
  replica: *password
cache: {<<: [*defaults, *database], "<<": a text}
servers:
- name: a
  token: "@servers[0].token@"
- name: b
  token: >-
    @servers[1].token@
motd: |
  two
  lines
since: 2026-11-25
at: 2026-11-25T09:30:00Z
raw: !!binary "AP8="
half: 0.5
answer: yes
nothing: ~
empty: {}
none: []
""".replace("db:\n", "db: &database\n"),
    patterns=("**.password", "servers[*].token"),
    keys=(OLD, NEW),
    recipients=("p256", "x25519"),
)

TOML = Draft(
    {
        "title": "an example",
        "day": date(2026, 11, 25),
        "hour": time(9, 30),
        "local": datetime(2026, 11, 25, 9, 30),  # noqa: DTZ001 - a local time has no zone
        "moment": datetime(2026, 11, 25, 9, 30, tzinfo=timezone(timedelta(hours=2))),
        "ratio": 1e-07,
        "db": {"port": 5432, "password": Secret("correct horse", OLD), "tls": {"key": Secret("-----BEGIN", NEW)}},
        "server": [{"token": Secret("first")}, {"token": Secret("second")}],
    },
    "toml",
    """\
title = 'an example' # a comment
day = 2026-11-25
hour = 09:30:00
local = 2026-11-25T09:30:00
moment = 2026-11-25 09:30:00+02:00
ratio = 1e-7
[db]
port = 5_432
password = "@db.password@"
tls.key = '@db.tls.key@'
[[server]]
token = "@server[0].token@"
[[server]]
token = \"\"\"@server[1].token@\"\"\"
""",
    patterns=("**.password", "server[*].token", "db.tls"),
    keys=(OLD, NEW, NEWEST),
    recipients=("local", "rsa"),
)

ENV = Draft(
    {"HOST": "db.example", "PASSWORD": Secret("correct horse"), "LINES": "a\nb", "EMPTY": "", "FLAG": None, "PORT": Secret(5432, OLD)},
    "env",
    """\
# a comment
export HOST=db.example # another
PASSWORD="@PASSWORD@"
LINES="a\\nb"
EMPTY=
FLAG
PORT=@PORT@
""",
    patterns=("PASS*", "PORT"),
    keys=(OLD, NEW),
)

INI = Draft(
    {"db": {"Host": "db.example ; no comment", "password": Secret("correct horse"), "flag": None}, "web.tls": {"key": Secret("a\nb", OLD)}},
    "ini",
    """\
; a comment
[db]
Host = db.example ; no comment
password: @db.password@
flag

[web.tls]
key = @"web.tls".key@
""",
    patterns=("*.password", '"web.tls".key'),
    keys=(OLD, NEW),
    recipients=("keyring",),
)

HIDDEN = Draft(
    {"a": {"x": 1}, "b": {MERGE: Alias(("a",)), "x": Secret(2)}}, "yaml", "a: &a {x: 1}\nb: {<<: *a, x: '@b.x@'}\n", patterns=("b.x",)
)

ODD_KEYS = ["", "a.b", "a b", "a*b", "*", "**", "[0]", "0", "'", '"', "\\", "\n", "\u043a\u043b\u044e\u0447", "<<", "securekit ", "\u2028"]


def configs() -> Scenarios:
    """Return all that open."""
    return formats() | values() | keys() | signatures() | bounds()


def formats() -> Scenarios:
    """Documents of each format."""
    basic, yaml = BASIC.document(), YAML.document()
    compact = json.dumps(json.loads(basic), separators=(",", ":"))
    return {
        "yaml": YAML.opens(),
        "toml": TOML.opens(),
        "json": BASIC.opens(),
        "env": ENV.opens(),
        "ini": INI.opens(),
        "json-escapes": BASIC.opens("white space and escapes are not part of the tree", compact.replace("ENC[", "\\u0045NC[")),
        "json-bom": BASIC.opens("a byte order mark before the text is not part of it", "\ufeff" + basic),
        "json-block-first": BASIC.opens("where the block stands is not authenticated", block_first(basic)),
        "yaml-as-json": replace(BASIC, form="yaml", text="").opens("JSON is YAML", basic),
        "yaml-comments": YAML.opens("comments and layout are not authenticated", yaml.replace("  # a", " # not a").replace("\n", "\r\n")),
        "yaml-pattern-of-alias": replace(YAML, patterns=("db.replica", "db.password", "cache.password")).opens(
            "patterns that match through an alias and a merge key"
        ),
        "yaml-hidden": HIDDEN.opens("a clear value that a merge key would repeat, were there no key of the mapping's own"),
        "ini-delimiters": INI.opens("nor are delimiters", INI.document().replace("Host = ", "Host:")),
        "empty": Draft({}, patterns=()).opens(),
        "yaml-empty": Draft({}, "yaml", "# nothing\n").opens(),
    }


def block_first(text: str) -> str:
    """Return a JSON document with its block before all else, and its entries in another order."""
    members = json.loads(text)
    block = members.pop("securekit")
    return json.dumps({"securekit": dict(reversed(block.items())), **members}, indent=1)


def values() -> Scenarios:
    """Values of every type, and keys of every kind."""
    types = {name: Secret(value) for name, value in ALL_TYPES.items()}
    odd = {"odd": {key: Secret(str(number)) for number, key in enumerate(ODD_KEYS)}}
    alike = {"a": {"b": 1}, "a.b": 1, "c": ["d"], "c[0]": "d", "e": {"0": 1}, "n": "null", "t": "true", "1": "1"}
    texts = ["ENC", "ENC(x)", "encrypted:", "encrypted: see below", "a ENC[AES256_GCM]", "$ANSIBLE_VAULT", "{enc}"]
    return {
        "types": Draft(types, patterns=("**",)).opens("a token holds every type, whatever the format"),
        "odd-keys": Draft(odd, patterns=("odd",)).opens(),
        "alike": Draft(alike).opens("paths and types that are written alike"),
        "no-ciphertexts": Draft({"texts": texts}).opens("texts that look like ciphertexts, and may pass"),
        "clear-list": Draft({"a": [[1, [2]], {}, [], None, [Secret("x")]]}, patterns=("a[4]",)).opens(),
        "64-levels": Draft(nested(63)).opens("64 mappings and lists inside each other, of which the root is one"),
        "4300-digits": Draft({"a": Secret(10**4299)}).opens("the longest integer"),
    }


def nested(depth: int) -> Tree:
    """Return a mapping of that many lists inside each other."""
    tree: Tree = []
    for _ in range(depth - 1):
        tree = [tree]
    return {"a": tree}


def keys() -> Scenarios:
    """Recipients and data keys."""
    every = replace(BASIC, recipients=tuple(WRAPPERS), keys=(OLD, NEW))
    shown = recipient(hpke("p256"), "5e" * 32, "2036-01-01T00:00:00Z", "CN=web 1, O=B\u00fcro \u6771\u4eac")
    return {
        "all-recipients": every.opens(),
        "last-opener": every.opens() | {"openers": [opener(WRAPPERS["rsa"]())]},
        "described-recipient": replace(BASIC, recipients=("p256",)).opens("facts for display", recipients=[shown]),
        "three-data-keys": replace(TOML, keys=(NEW, OLD, NEWEST)).opens("the newest encrypts nothing, and makes the tag"),
        "denied-passed-over": replace(BASIC, recipients=("keyring", "local")).opens("the parent's key is disabled; the local KEK opens")
        | {"openers": [opener(keyring(), parent_state="disabled"), opener(local())]},
    }


def signatures() -> Scenarios:
    """Signed documents."""
    both = ("alice", "bob")
    return {
        "signed": SIGNED.opens(),
        "signed-p256": replace(BASIC, signers=("p256",), trusted=("p256",)).opens(),
        "signed-p384": replace(BASIC, signers=("p384",), trusted=("p384",)).opens(),
        "signed-rsa": replace(BASIC, signers=("rsa3072",), trusted=("rsa3072",)).opens(),
        "signed-yaml": replace(YAML, signers=("alice",), trusted=("alice",)).opens(),
        "signed-toml": replace(TOML, signers=("alice",), trusted=("alice",)).opens(),
        "signed-env": replace(ENV, signers=("alice",), trusted=("alice",)).opens(),
        "signed-ini": replace(INI, signers=("alice",), trusted=("alice",)).opens(),
        "signed-by-one-of-two": replace(SIGNED, trusted=both).opens(),
        "signed-by-a-stranger-too": replace(SIGNED, signers=("alice", "p384", "rsa3072")).opens(),
        "signed-without-trust": replace(SIGNED, trusted=()).opens("nobody looks at the signature"),
    }


def bounds() -> Scenarios:
    """Entries at their bounds."""
    longest = "9" + "aZ.-_" * 12 + "abc"
    tree = {"a": Secret("x", environment=longest)}
    kind = Draft(tree, patterns=())
    far = kind.block(environment=longest, keys=[data_key(NEW, ["local"], environment=longest)])
    return {
        "longest-environment": kind.opens(**far) | {"environment": longest},
        "largest-generation": BASIC.opens(generation="9007199254740991"),
        "longest-pattern": BASIC.opens(encrypt=["db.password", "api.tokens", "x" * 512]),
        "256-patterns": BASIC.opens(encrypt=["db.password"] * 256),
    }
