# SPDX-License-Identifier: Apache-2.0
"""Many editing sessions, by readers and by authors who can read nothing: what hosts read is what was written, under fresh keys."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from securekit.config import Document, Edit
from securekit.config._merge import merge_into
from securekit.exceptions import ConfigError
from tests.config.parts import ENVIRONMENT, FORMATS, Host, host, path, reader
from tests.conftest import Count
from tests.identities import clock

HOSTS = 3
NAMES = [f"k{number}" for number in range(8)]
EMPTY = {"yaml": "", "json": "{}\n", "toml": "", "env": "", "ini": ""}
values = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)


def named(document: Document, name: str) -> str:
    """Return the path of a key: INI has sections."""
    return f"s.{name}" if document.format == "ini" else name


class Sessions(RuleBasedStateMachine):
    """A document that is edited in every way, beside a dictionary of what it should hold.

    Every session checks that its new tokens are under a key that no session before it has had; after each, every host that is a
    recipient reads exactly the model, with a valid tag, and no other host does.
    """

    form = "yaml"

    @initialize()
    def begin(self) -> None:
        empty = Document.parse(EMPTY[self.form].encode(), format=self.form)
        edit = Edit.of_clear(empty, environment=ENVIRONMENT, recipients=[host().public], clock=clock())
        edit.expect(["**"])
        self.document = edit.finish()
        self.model: dict[str, object] = {}
        self.readers = {0}
        self.keys = {key.id for key in self.document.required.keys}

    def session(self, number: int | None) -> Edit:
        """Begin a session: of a host, or of an author who can read nothing."""
        references = [recipient.key_ref for recipient in self.document.required.recipients]
        wrappers = [host(number).private] if number is not None else []
        return self.document.edit(wrappers=wrappers, adopt=number is None, confirmed=references, clock=clock())

    def done(self, edit: Edit) -> None:
        """Finish a session, and check which keys it has used."""
        before = {leaf.token for leaf in self.document.leaves()}
        self.document = edit.finish()
        new = {leaf.token.key_id for leaf in self.document.leaves() if leaf.token is not None and leaf.token not in before}
        assert len(new) <= 1
        assert new.isdisjoint(self.keys)
        self.keys |= {key.id for key in self.document.required.keys}

    def anybody(self, data: st.DataObject) -> int | None:
        return data.draw(st.sampled_from([None, *sorted(self.readers)]))

    def somebody(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.readers)))

    @rule(data=st.data(), name=st.sampled_from(NAMES), value=values)
    def set(self, data: st.DataObject, name: str, value: str) -> None:
        edit = self.session(self.anybody(data))
        edit.set(path(named(self.document, name)), value, create=True)
        self.model[name] = value
        self.done(edit)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def unset(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        edit = self.session(self.anybody(data))
        edit.unset(path(named(self.document, name)))
        del self.model[name]
        self.done(edit)

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def protect(self, data: st.DataObject, name: str) -> None:
        edit = self.session(self.anybody(data))
        if name in self.model:
            edit.protect([named(self.document, name)])
        else:
            edit.expect([named(self.document, name)])
        edit.forget(named(self.document, name))
        self.done(edit)

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        edit = self.session(self.somebody(data))
        edit.rotate()
        self.done(edit)
        assert len(self.document.required.keys) == 1

    @precondition(lambda self: len(self.readers) < HOSTS)
    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        new = data.draw(st.sampled_from(sorted(set(range(HOSTS)) - self.readers)))
        edit = self.session(self.somebody(data))
        edit.add_recipient(host(new).public)
        self.readers.add(new)
        self.done(edit)

    @precondition(lambda self: len(self.readers) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.readers)))
        edit = self.session(self.somebody(data))
        exposed = edit.remove_recipient(host(gone).name)
        assert set(exposed) == {named(self.document, name) for name in self.model}
        self.readers.remove(gone)
        self.done(edit)
        assert len(self.document.required.keys) == 1

    @rule(data=st.data(), ours=st.sampled_from(NAMES[:4]), theirs=st.sampled_from(NAMES[4:]), value=values)
    def merge(self, data: st.DataObject, ours: str, theirs: str, value: str) -> None:
        base = self.document
        sides = []
        for name in (ours, theirs):
            edit = self.session(self.anybody(data))
            edit.set(path(named(base, name)), f"{value}{name}", create=True)
            sides.append(edit.finish())
            self.keys |= {key.id for key in sides[-1].required.keys}
        self.document = sides[0]
        edit = self.session(None)
        there = {leaf.token for side in sides for leaf in side.leaves()}
        merged = merge_into(edit, base=base, ours=sides[0], theirs=sides[1])
        assert merged.conflicts == merged.exposed == ()
        self.model |= {ours: f"{value}{ours}", theirs: f"{value}{theirs}"}
        self.document = edit.finish()
        assert {leaf.token for leaf in self.document.leaves()} <= there  # a merge encrypts nothing
        self.keys |= {key.id for key in self.document.required.keys}

    @invariant()
    def hosts_read_the_model(self) -> None:
        for number in range(HOSTS):
            one: Host = host(number)
            opened = self.document.open_if_recipient([one.private], adopt=False)
            assert (opened is not None) == (number in self.readers)
            if opened is not None:
                found = {leaf.path[-1]: opened.value(leaf) for leaf in self.document.leaves()}
                assert found == self.model

    @invariant()
    def keys_are_used_and_few(self) -> None:
        block = self.document.required
        used = {leaf.token.key_id for leaf in self.document.leaves() if leaf.token is not None}
        assert len(block.keys) <= 64
        assert {key.id for key in block.keys[:-1]} <= used <= {key.id for key in block.keys}
        assert len(used) == len({leaf.token.key_id for leaf in self.document.leaves() if leaf.token})


@pytest.mark.repetitive
@pytest.mark.parametrize("form", FORMATS)
def test_sessions_of_any_kind(form: str, count: Count) -> None:
    """Whatever is done in whatever order, by whomever: the promise of `Sessions` holds after each session, in each format."""
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("SessionsOf" + form, (Sessions,), {"form": form})
    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=25))
    count(f"editing sessions at random: {form}, at most", 15 * 25)


@pytest.mark.repetitive
def test_200_random_sessions_never_use_a_key_of_before(count: Count) -> None:
    """No session ever encrypts under a data key that was there before it, since whoever made that key knows it."""
    draw = random.Random(7)
    document = Document.parse(b"", format="yaml")
    edit = Edit.of_clear(document, environment=ENVIRONMENT, recipients=[host().public], clock=clock())
    edit.expect(["**"])
    document = edit.finish()
    ever = {key.id for key in document.required.keys}
    for _ in range(200):
        author = draw.random() < 0.7
        references = [host().name[1]]
        wrappers: list[Any] = [] if author else [host().private]
        edit = document.edit(wrappers=wrappers, adopt=author, confirmed=references, clock=clock())
        for name in draw.sample(NAMES, draw.randint(1, 3)):
            edit.set(path(name), str(draw.random()), create=True)
        if not author and draw.random() < 0.3:
            edit.rotate()
        before = {leaf.token for leaf in document.leaves()}
        document = edit.finish()
        new = {leaf.token.key_id for leaf in document.leaves() if leaf.token and leaf.token not in before}
        assert len(new) == 1
        assert new.isdisjoint(ever)
        ever |= new
    count("sessions without an old key", 200)


def test_at_most_64_sessions_without_a_rotation() -> None:
    """Then somebody who can read folds their keys into one; the message names the command, and rotation helps."""
    document = Document.parse("".join(f"k{number}: fake\n" for number in range(70)).encode(), format="yaml")
    document = document.encrypt(environment=ENVIRONMENT, recipients=[host().public], patterns=["**"], clock=clock()).finish()

    def write(document: Document, number: int) -> Document:
        edit = document.edit(adopt=True, confirmed=[host().name[1]], clock=clock())
        edit.set(path(f"k{number}"), "new")
        return edit.finish()

    for number in range(63):
        document = write(document, number)
    assert len(document.required.keys) == 64
    with pytest.raises(ConfigError, match=r"64 editing sessions have written to .* securekit config rotate"):
        write(document, 63)

    edit = reader(document)
    edit.rotate()
    document = write(edit.finish(), 63)
    assert len(document.required.keys) == 2


def test_a_reader_never_blesses_what_is_broken() -> None:
    """A token that was moved, or whose key is gone, is not carried along by the next session."""
    document = Document.parse(b"a: fake-1\nb: fake-2\nc: 3\n", format="yaml")
    document = document.encrypt(environment=ENVIRONMENT, recipients=[host().public], patterns=["a", "b"], clock=clock()).finish()
    tokens = {leaf.name: str(leaf.value) for leaf in document.leaves() if leaf.token}
    swapped = document.with_text(
        document.source.text.replace(tokens["a"], "x").replace(tokens["b"], tokens["a"]).replace("x\n", tokens["b"] + "\n", 1)
    )

    edit = swapped.edit(wrappers=[host().private], adopt=True, confirmed=[host().name[1]], clock=clock())
    edit.set(path("c"), 4, clear=True)
    with pytest.raises(ConfigError, match="a does not open where it stands: it was moved, or changed by hand"):
        edit.finish()

    other = document.edit(adopt=True, confirmed=[host().name[1]], clock=clock())
    other.set(path("b"), "new")
    lost = other.finish()
    lost = lost.with_block(replace(lost.required, keys=lost.required.keys[-1:]))
    edit = lost.edit(adopt=True, confirmed=[host().name[1]], clock=clock())
    edit.set(path("b"), "newer")
    with pytest.raises(ConfigError, match=r"a is encrypted under a data key that the document does not have"):
        edit.finish()
