# SPDX-License-Identifier: Apache-2.0
"""What the commands on configuration documents share: their options, whom they believe, and how they write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from securekit.exceptions import ConfigError, ConflictError, DecryptionError

from ._ui import note, printable

if TYPE_CHECKING:
    from securekit._primitives.signatures import SigningKey
    from securekit.config import Document, Edit, OpenDocument, Trust
    from securekit.wrappers import KeyWrapper

__all__ = ["Session", "document_file", "dry_run", "with_reader", "with_writer", "writing_options"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

document_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
dry_run = click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")

_IDENTITY = click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="FILE",
    help="The private key that reads the document: PEM, PKCS#12 or X-Wing; or a name such as local:root.key.  [env: SECUREKIT_IDENTITY]",
)
_TRUST = click.option(
    "--trust",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The trust.toml that says whom to believe; else the one beside the identity, else the repository's.  [env: SECUREKIT_TRUST]",
)
_FORMAT = click.option("--format", "form", type=click.Choice(["yaml", "json", "toml", "env", "ini"]), help="If FILE's name does not tell.")
_SIGN = click.option(
    "--sign",
    envvar="SECUREKIT_SIGNING_KEY",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KEY",
    help="Sign the result with this private key.  [env: SECUREKIT_SIGNING_KEY]",
)
_CONFIRM = click.option(
    "--confirm",
    multiple=True,
    metavar="FINGERPRINT",
    help="A recipient's key that you have compared with its owner; may be given several times.",
)
_ADOPT = click.option("--adopt", is_flag=True, help="Take over changes that cannot be verified, after they are shown.")
_TRIES = 5  # to write a document that others write, too
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


class Session:
    """One command on one document: reads it, says who is believed, and writes it.

    Args:
        path: The document's file.
        form: Its format, if the name does not tell.
        identities: What reads it.
        trust: Whom to believe.
        sign: The key that signs the result.
        confirm: References of confirmed recipients.
        adopt: Whether unverified changes are taken over.
        yes: Whether nothing is asked.
        name: Where the document stands in its repository, if ``path`` is a copy.
    """

    def __init__(
        self,
        path: Path,
        *,
        form: str | None = None,
        identities: tuple[str, ...] = (),
        trust: Path | None = None,
        sign: Path | None = None,
        confirm: tuple[str, ...] = (),
        adopt: bool = False,
        yes: bool = False,
        name: Path | None = None,
    ) -> None:
        from securekit.config._identity import find_identity
        from securekit.config._state import HostState

        self.path = path
        self.name = name or path
        self.form = form
        self._confirmed = confirm
        self._adopt = adopt
        self._adopted = False
        self._yes = yes
        self._sign = sign
        self._named_trust = trust
        self._signing_key: SigningKey | None = None
        self.wrappers: list[KeyWrapper]
        self.wrappers, self._identity_file = find_identity(list(identities) or None, ask=_ask)
        self.state = HostState.of_user()

    @cached_property
    def trust(self) -> Trust | None:
        """Whom to believe about the document."""
        from securekit.config._trust import find_trust

        return find_trust(explicit=self._named_trust, identity=self._identity_file, document=self.name, repository=True)

    def of(self, path: Path) -> Session:
        """Return the same session on another document, whose trust is its own: no password is asked for twice."""
        other = copy(self)
        other.path = other.name = path
        other.__dict__.pop("trust", None)
        return other

    def read(self) -> Document:
        """Return the document as its file has it now."""
        from securekit.config import Document

        return Document.read(self.path, format=self.form)

    def open(self, *, starting: bool = False) -> OpenDocument:
        """Return the document, verified and open for reading.

        Args:
            starting: A program starts with it: then it is judged as `securekit.config.load` does, whatever was written here.
        """
        from securekit.config._base import check_trust, remember_generation
        from securekit.config._load import warn_of_forgery

        document = self.read()
        if starting and (self.trust is None or not self.trust.guarded):  # a repository's was put there with the document
            warn_of_forgery(document)
        if self.trust is not None:
            known = not starting and self.state.seen(document.required.document).knows(document)
            check_trust(document, self.trust, known=known)
        if not self.wrappers:
            document.required  # noqa: B018 - that it is not encrypted is said first
            message = f"{self.path} is read with a private key: --identity FILE, or SECUREKIT_IDENTITY"
            raise ConfigError(message)
        opened = self.proven(lambda: document.open(self.wrappers))
        if starting:
            opened.reveal()  # refuses what no program may start with: a secret in clear text, or somebody else's ciphertext
            if self.trust is not None:
                remember_generation(document, self.trust)
        return opened

    def open_if_recipient(self, document: Document) -> OpenDocument | None:
        """Return a document open for reading; None if nothing here reads it."""
        return self.proven(lambda: document.open_if_recipient(self.wrappers, adopt=self._adopt))

    def edit(self, document: Document, *, leaving: Sequence[tuple[str, str]] = ()) -> Edit:
        """Begin an editing session on an encrypted document, asking about what nothing here has verified.

        Args:
            document: As it was read.
            leaving: Names of recipients that are removed at once.
        """
        if self._adopt and not self._adopted:
            self._show_changes(document)
            self._adopted = True
        confirmed = self.confirmed(document, leaving)
        return self.proven(
            lambda: document.edit(
                wrappers=self.wrappers, trust=self.trust, state=self.state, confirmed=confirmed, adopt=self._adopt, leaving=leaving
            )
        )

    def change(self, work: Callable[[Edit], None], *, dry_run: bool = False) -> Document:
        """Read the document, change it, and write it; anew, on what is there then, if somebody else was faster.

        From the second try on, nobody else on this host writes meanwhile: the first one may have waited for a person to type.
        """
        with suppress(ConflictError):
            return self._change(work, dry_run=dry_run)
        with self.state.alone():
            for _ in range(_TRIES - 2):
                with suppress(ConflictError):
                    return self._change(work, dry_run=dry_run)
            return self._change(work, dry_run=dry_run)

    def _change(self, work: Callable[[Edit], None], *, dry_run: bool) -> Document:
        document = self.read()
        edit = self.edit(document)
        work(edit)
        return self.save(edit, document, dry_run=dry_run)

    def save(
        self, edit: Edit, before: Document | None, *, dry_run: bool = False, on_write: Callable[[Document], None] = lambda _: None
    ) -> Document:
        """Finish a session, sign if a key is given, and write the file.

        Args:
            edit: The session.
            before: The document as it was read; None for a new file.
            dry_run: Say what would change, and write nothing.
            on_write: Told of the document just before it is written.
        """
        return self.put(edit.finish(), before, dry_run=dry_run, on_write=on_write)

    @property
    def signs(self) -> bool:
        """Whether there is a key that signs what is written."""
        return self._sign is not None

    def put(
        self,
        document: Document,
        before: Document | None,
        *,
        dry_run: bool = False,
        signing: bool = False,
        on_write: Callable[[Document], None] = lambda _: None,
    ) -> Document:
        """Write a finished document; arguments as `save`. With ``signing``, also one that has not changed."""
        from securekit.config._base import check_policy

        trust = self.trust  # if it cannot be read, nothing is written
        if before is not None and document.to_bytes() == before.to_bytes() and not signing:
            note(f"{self.name}: nothing to change")
            return document
        if self.trust is not None and before is not None and before.block is not None:
            entry = self.trust.entry(before.block.document.hex())
            entry.check_recipients(recipient.name for recipient in document.required.recipients)
        if dry_run:
            self._show(before, document)
            note(f"{self.name}: nothing was written")
            return document
        if before is not None and before.block is not None and trust is not None:
            check_policy(document, trust)
        if self._sign is not None:
            document = document.sign(self.signing_key(self._sign))
        with self.state.alone():
            self.state.remember(document)  # first: if this process is killed in between, the next command still knows what it finds
            on_write(document)
            document.write(self.path, expected=before)
        self._say(document)
        return document

    def signing_key(self, path: Path) -> SigningKey:
        """Return the private key in a guarded file."""
        from securekit._primitives.signatures import SigningKey
        from securekit._wire.key_files import read_key_file

        if self._signing_key is None:
            self._signing_key = SigningKey.read(read_key_file(path), password=lambda: _ask(f"password of {path}"))
        return self._signing_key

    @staticmethod
    def proven(work: Callable[[], T]) -> T:
        """Do something that verifies the integrity tag; say what it means if that fails."""
        try:
            return work()
        except DecryptionError:
            note(
                "securekit: hint: the document was changed by hand or by a merge since it was last written; compare it with the last"
                " version (git diff), then restore it, or take the changes over with: securekit config encrypt FILE --adopt"
            )
            raise

    def confirmed(self, document: Document, leaving: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
        """Return the references of confirmed recipients, after asking about those of ``document`` that are new and stay."""
        self._confirmed += tuple(self._ask_about_recipients(document, leaving))
        return self._confirmed

    def _ask_about_recipients(self, document: Document, leaving: Sequence[tuple[str, str]]) -> list[str]:
        """Return the references of new recipients that the person at the terminal has confirmed."""
        from securekit.config._base import unseen_recipients

        unseen = unseen_recipients(document, trust=self.trust, state=self.state)
        unseen = tuple(one for one in unseen if one.key_ref not in self._confirmed and one.name not in leaving)
        if not unseen or not sys.stdin.isatty():
            return []
        note(f"{self.name} names recipients to whom this host has never written; they will read what you set:")
        confirmed = []
        for recipient in unseen:
            note(f"  {printable(recipient.subject)}: {recipient.wrapper}, key fingerprint {recipient.key_ref}")
            if click.confirm("Have you compared this fingerprint with its owner, and is it the same?", err=True):
                confirmed.append(recipient.key_ref)
        return confirmed

    def _show_changes(self, document: Document) -> None:
        """Show what --adopt takes over, and ask."""
        self._show(self._last_seen(document), document)
        if self._yes:
            return
        if not sys.stdin.isatty():
            message = "--adopt shows the changes and asks; where nobody can be asked, add --yes"
            raise ConfigError(message)
        click.confirm("Take these changes over?", abort=True, err=True)

    def _last_seen(self, document: Document) -> Document | None:
        from securekit.config import Document as ConfigDocument

        seen = self.state.seen(document.required.document)
        if not seen.text:
            note("this host has never seen the document: everything in it is new")
            return None
        return ConfigDocument.parse(seen.text.encode(), format=seen.format, name="the last version seen")

    @staticmethod
    def _show(before: Document | None, after: Document) -> None:
        from securekit.config._difference import differences

        for difference in differences(before, after):
            note(printable(str(difference)))

    def _say(self, document: Document) -> None:
        from securekit.config._base import check_signed

        block = document.required
        signed = f"{len(block.signatures)} signature{'s' if len(block.signatures) != 1 else ''}" if block.signatures else "not signed"
        note(f"{self.name}: generation {block.generation}, {signed}")
        entry = self.trust.documents.get(block.document.hex()) if self.trust is not None else None
        hint = f"securekit config sign {self.name} --sign KEY"
        if entry is not None and not block.signatures:
            note(f"securekit: hint: hosts whose trust.toml wants a signature refuse it until: {hint}")
        elif entry is not None:
            try:
                check_signed(document, entry)
            except ConfigError as error:
                note(f"securekit: hint: hosts refuse it as it is: {printable(str(error))}: {hint}")


def with_reader(command: F) -> F:
    """Make a session of a command's FILE and the options of reading, which this adds; it is the first argument."""
    return _add(_with_session(command), _READING)


def with_writer(command: F) -> F:
    """Make a session of a command's FILE and the options of writing, which this adds; it is the first argument."""
    return _add(_with_session(command), _WRITING)


def writing_options(command: F) -> F:
    """Give a command the options of writing, as the keyword arguments of `Session`."""
    return _add(command, _WRITING)


_READING = (_FORMAT, _TRUST, _IDENTITY)
_WRITING = (_YES, _ADOPT, _CONFIRM, _SIGN, *_READING)
_ARGUMENTS = ("form", "identities", "trust", "sign", "confirm", "adopt", "yes")


def _with_session(command: F) -> F:
    @wraps(command)
    def run(*args: Any, file: Path, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever click passes
        options = {name: kwargs.pop(name) for name in _ARGUMENTS if name in kwargs}
        return command(Session(file, **options), *args, **kwargs)

    return run  # type: ignore[return-value]


def _add(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in options:
        command = option(command)
    return command


def _ask(what: str) -> str:
    answer: str = click.prompt(what.capitalize(), hide_input=True, err=True)
    return answer
