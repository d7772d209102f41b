# SPDX-License-Identifier: Apache-2.0
"""Recipients that are exchanged in place: which of two headers counts, and what an exchange does to the file."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securekit._primitives.cobblestone import CHUNK_SIZE, HEADER_SIZE, SEALED_CHUNK_SIZE, ChunkOpener, StreamEncryptor
from securekit.envelope import Envelope, inspect_file
from securekit.envelope._header import MAX_GENERATION, STREAM, DataKey, payload_context, read_header
from securekit.exceptions import DecryptionError, EnvelopeError, FormatError, KeyNotFoundError, WrapperDeniedError, WrapperUnavailableError
from securekit.testing import FlakyWrapper
from securekit.wrappers import Binding, KeyWrapper, WrappedKey
from tests.conftest import Count
from tests.envelope.parts import (
    CONTEXT,
    DATA_KEY,
    LOCAL,
    MESSAGE_ID,
    Counting,
    everyone,
    header,
    local,
    payload_of,
    read,
    refile,
    slotted,
    stream,
)

OLD, NEW, OTHER = local(1), local(2), local(3)
SLOT = 4096
_fork = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sealed file for one KEK."""
    path = tmp_path / "file.sk"
    path.write_bytes(slotted(b"secret", OLD))
    return path


def opens(path: Path, *wrappers: KeyWrapper) -> bool:
    try:
        return Envelope(wrappers).open_reader(path, context=CONTEXT).read() == b"secret"
    except KeyNotFoundError:
        return False


def slots_of(path: Path) -> tuple[bytes, bytes]:
    data = path.read_bytes()
    return data[:SLOT], data[SLOT : 2 * SLOT]


def made_of(path: Path, one: bytes, other: bytes) -> None:
    """Make a file of two headers that stand for the key and message of `parts`."""
    path.write_bytes(one + other + payload_of(b"secret"))


# ---------------------------------------------------------------------------------------------- which header counts


def test_the_higher_generation_counts(path: Path) -> None:
    """Of two valid headers, in either order, the newer one tells who the recipients are."""
    to_new = NEW.wrap(DATA_KEY.reveal(), ["envelope", MESSAGE_ID])
    one, other = header(generation=1), header(to_new, generation=2)
    for pair in ((one, other), (other, one)):
        made_of(path, *pair)
        assert opens(path, LOCAL, NEW)
        assert inspect_file(path).generation == 2
        assert [copy.key_ref for copy in inspect_file(path).recipients] == [NEW.key_ref]
        assert "differ" in inspect_file(path).faults[0]


@pytest.mark.parametrize("generation", [1, 2**31, MAX_GENERATION])
def test_a_torn_header_with_a_huge_generation_does_not_count(path: Path, generation: int) -> None:
    """A header whose tag is wrong is passed over, whatever generation it claims, and a rewrap writes over it."""
    torn = bytearray(header(generation=generation))
    torn[100] ^= 1  # of the wrapped data key
    for pair in ((bytes(torn), header()), (header(), bytes(torn))):
        made_of(path, *pair)
        assert opens(path, LOCAL)
        assert Envelope(LOCAL).rewrap_file(path)
        assert slots_of(path) == (header_of(path), header_of(path))
        assert inspect_file(path).generation == 0
        assert inspect_file(path).faults == ()


def header_of(path: Path) -> bytes:
    """Return the first header of a file, padded."""
    return path.read_bytes()[:SLOT]


@pytest.mark.parametrize(
    "other",
    [
        header(local(9).wrap(DATA_KEY.reveal(), ["envelope", MESSAGE_ID]), LOCAL.wrap(DATA_KEY.reveal(), ["envelope", MESSAGE_ID])),
        header(message_id=b"\x2e" * 16, generation=1),
        header(key=DataKey(b"\x77" * 32), generation=1),
    ],
    ids=["equal generations", "another message", "another data key"],
)
def test_two_valid_headers_that_disagree_are_refused(path: Path, other: bytes) -> None:
    """Two genuine headers that cannot both be this file's are not chosen between, and nothing is written."""
    for pair in ((header(), other), (other, header())):
        made_of(path, *pair)
        before = path.read_bytes()
        with pytest.raises(EnvelopeError, match="restore the file from a backup"):
            opens(path, LOCAL)
        with pytest.raises(EnvelopeError):
            Envelope(LOCAL).rewrap_file(path, wrappers=[LOCAL, NEW])
        assert path.read_bytes() == before


def test_a_header_of_another_slot_size_does_not_count(path: Path) -> None:
    """A genuine header that lies about the size of the slots is passed over, as is one that is not padded with zeros."""
    lying = header(slot=13)[:SLOT]
    padded = header()[:-1] + b"\x01"
    for wrong in (lying, padded):
        made_of(path, header(), wrong)
        assert opens(path, LOCAL)
        assert len(inspect_file(path).faults) == 1
    made_of(path, padded, header())
    assert opens(path, LOCAL)
    made_of(path, padded, padded)
    with pytest.raises(FormatError, match="not padded with zeros"):
        opens(path, LOCAL)


@pytest.mark.parametrize("exponent", range(12, 20))
def test_the_second_header_is_found_at_each_place(path: Path, exponent: int) -> None:
    """If the first header is gone, the second one is found whatever size the slots have."""
    path.write_bytes(bytes(1 << exponent) + header(slot=exponent) + payload_of(b"secret"))

    assert opens(path, LOCAL)
    found = inspect_file(path)
    assert (found.slot_size, found.plaintext_size, len(found.faults)) == (1 << exponent, 6, 1)


def test_what_looks_like_a_header_in_the_payload_is_not_written_to(path: Path) -> None:
    """A rewrap writes to the two places where headers are, and nowhere else."""
    payload = bytearray(payload_of(bytes(40_000)))
    at = (1 << 14) - 2 * SLOT
    payload[at : at + len(header(slot=14))] = header(slot=14)
    path.write_bytes(header() + bytes(SLOT) + payload)

    assert Envelope(LOCAL).rewrap_file(path, wrappers=[LOCAL, NEW])

    assert path.read_bytes()[2 * SLOT :] == payload
    assert slots_of(path)[0] == slots_of(path)[1]


# ---------------------------------------------------------------------------------------------- the exchange


def test_the_recipients_are_exchanged_in_place(path: Path) -> None:
    """Both headers are for the new KEK, the old one is in neither, the payload is untouched, and the inode is the same."""
    before, inode = path.read_bytes(), path.stat().st_ino

    assert Envelope(NEW, also_open=[OLD]).rewrap_file(path)

    assert (opens(path, NEW), opens(path, OLD)) == (True, False)
    one, other = slots_of(path)
    assert one == other
    assert OLD.key_ref.encode() not in one
    assert (path.read_bytes()[2 * SLOT :], path.stat().st_ino) == (before[2 * SLOT :], inode)
    assert inspect_file(path).generation == 1
    assert inspect_file(path).faults == ()


def test_there_is_a_valid_header_at_every_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each write the other header opens, and each is on the disk before the next is touched."""
    real, calls = os.pwrite, list[str]()

    def write(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(f"write {offset}")
        image = bytearray(path.read_bytes())
        image[offset : offset + SLOT] = os.urandom(SLOT)  # whatever a crash leaves of it
        assert read(bytes(image), Envelope([OLD, NEW])) == b"secret"
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("sync"))

    Envelope(NEW, also_open=[OLD]).rewrap_file(path)

    assert calls == ["write 4096", "sync", "write 0", "sync"]


@pytest.mark.parametrize("first", [0, 1])
def test_an_interrupted_exchange_is_found_and_finished(path: Path, first: int) -> None:
    """With one header old and one new, a rerun makes both new; until then inspection tells, and a dry run as well."""
    before = slots_of(path)
    Envelope(NEW, also_open=[OLD]).rewrap_file(path)
    refile(path, lambda data: data.__setitem__(slice(first * SLOT, (first + 1) * SLOT), before[first]))
    assert "rewrap was interrupted" in inspect_file(path).faults[0]
    image = path.read_bytes()

    for envelope in (Envelope(NEW), Envelope(NEW, also_open=[OLD])):
        path.write_bytes(image)
        assert opens(path, NEW)
        assert envelope.rewrap_file(path, dry_run=True)
        assert path.read_bytes() == image
        assert envelope.rewrap_file(path)
        assert slots_of(path)[0] == slots_of(path)[1]
        assert not opens(path, OLD)
        assert inspect_file(path).generation == 1
        assert not envelope.rewrap_file(path)


def test_a_newer_header_for_somebody_else_is_not_undone(path: Path) -> None:
    """Who was dropped by an exchange that was interrupted cannot put himself back; who is not, finishes it."""
    newer = header(NEW.wrap(DATA_KEY.reveal(), ["envelope", MESSAGE_ID]), generation=3)
    for pair in ((header(), newer), (newer, header())):
        made_of(path, *pair)
        image = path.read_bytes()
        assert opens(path, LOCAL)
        for wrappers in (None, [LOCAL, NEW], [OTHER]):
            with pytest.raises(EnvelopeError, match=f"interrupted, .* finish it with local {NEW.key_ref}"):
                Envelope(LOCAL).rewrap_file(path, wrappers=wrappers)
            assert path.read_bytes() == image
        assert Envelope(LOCAL).rewrap_file(path, wrappers=[NEW])  # the same exchange once more
        assert inspect_file(path).faults == ()
        path.write_bytes(image)
        assert Envelope(NEW).rewrap_file(path)
        assert slots_of(path) == (newer, newer)


def test_a_run_is_repeated_by_who_opens_the_file_no_longer(path: Path) -> None:
    """What a former run has done is done, and only that: headers for others, or one that is damaged, are still an error."""
    partner = everyone()["p256"]
    public = Sealing(partner)
    envelope = Envelope(public, also_open=[OLD])
    assert envelope.rewrap_file(path, drop=[OLD])
    image = path.read_bytes()
    assert not envelope.rewrap_file(path, drop=[OLD])
    with pytest.raises(KeyNotFoundError, match=f"{partner.key_ref[:16]}… \\(without its private key\\), local {OLD.key_ref}:"):
        envelope.rewrap_file(path, wrappers=[public, OTHER])
    refile(path, lambda data: data.__setitem__(slice(SLOT), bytes(SLOT)))
    with pytest.raises(KeyNotFoundError):
        envelope.rewrap_file(path)
    assert path.read_bytes()[SLOT:] == image[SLOT:]


class Sealing(Counting):
    """A wrapper that only wraps, as one made of a certificate alone."""

    def opens(self, wrapped: WrappedKey) -> bool:
        return False


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_header_for_somebody_else_that_is_not_newer_is_overwritten(path: Path, generation: int) -> None:
    """What an exchange has replaced already, or what is another file's, stops nothing."""
    older = header(NEW.wrap(DATA_KEY.reveal(), ["envelope", MESSAGE_ID]), generation=generation)
    foreign_id = b"\x2e" * 16
    foreign = header(NEW.wrap(DATA_KEY.reveal(), ["envelope", foreign_id]), generation=9, message_id=foreign_id)
    for other in (older, foreign):
        made_of(path, other, header(generation=2))
        assert Envelope(LOCAL).rewrap_file(path)
        assert slots_of(path) == (header_of(path), header_of(path))
        assert opens(path, LOCAL)


def test_a_damaged_header_is_repaired(path: Path) -> None:
    """A rewrap to the same recipients writes the good header over a bad one, and then has nothing to do."""
    whole = path.read_bytes()
    for damaged in (bytes(SLOT) + whole[SLOT:], whole[:SLOT] + bytes(SLOT) + whole[2 * SLOT :]):
        path.write_bytes(damaged)
        assert Envelope(OLD).rewrap_file(path)
        assert path.read_bytes() == whole
    assert not Envelope(OLD).rewrap_file(path)


def test_a_dry_run_writes_nothing(path: Path) -> None:
    """It tells whether anything would be written, and raises what the exchange would raise."""
    before = path.read_bytes()

    assert Envelope(NEW, also_open=[OLD]).rewrap_file(path, dry_run=True)
    assert not Envelope(OLD).rewrap_file(path, dry_run=True)
    with pytest.raises(EnvelopeError, match="would lose"):
        Envelope(everyone()["p256"], also_open=[OLD]).rewrap_file(path, dry_run=True)
    with pytest.raises(EnvelopeError, match="have room for 4096"):
        Envelope(OLD).rewrap_file(path, wrappers=[OLD, *map(local, range(10, 60))], dry_run=True)

    assert path.read_bytes() == before


def test_recipients_are_kept_added_and_dropped(path: Path) -> None:
    """Copies that stay are the same bytes; a partner goes only by name."""
    partner = everyone()["x25519"]
    Envelope([OLD, partner], also_open=[OLD]).rewrap_file(path)
    kept = {copy.key_ref: copy.ciphertext for copy in inspect_file(path).recipients}

    with pytest.raises(EnvelopeError, match="would lose"):
        Envelope(OLD).rewrap_file(path)
    assert Envelope([OLD, NEW]).rewrap_file(path, drop=[partner])

    after = {copy.key_ref: copy.ciphertext for copy in inspect_file(path).recipients}
    assert after[OLD.key_ref] == kept[OLD.key_ref]
    assert sorted(after) == sorted([OLD.key_ref, NEW.key_ref])


def test_the_payload_is_checked_on_request(path: Path) -> None:
    """With a context, a payload of another file or context stops the exchange before anything is written."""
    before = path.read_bytes()
    with pytest.raises(DecryptionError):
        Envelope(NEW, also_open=[OLD]).rewrap_file(path, context={"other": "context"})
    assert path.read_bytes() == before

    assert Envelope(NEW, also_open=[OLD]).rewrap_file(path, context=CONTEXT)
    assert opens(path, NEW)


def test_recipients_that_do_not_fit_are_refused(path: Path) -> None:
    """The message tells how much room there is and what to do; nothing was written."""
    before = path.read_bytes()

    with pytest.raises(EnvelopeError, match=r"need \d+ bytes, and the headers of .* have room for 4096: decrypt it and encrypt it anew"):
        Envelope(OLD).rewrap_file(path, wrappers=[OLD, *map(local, range(10, 60))])

    assert path.read_bytes() == before


def test_a_generation_at_its_maximum_is_refused(path: Path) -> None:
    """The counter does not turn over; recipients that are the same already, and repairs, need no new one."""
    made_of(path, header(generation=MAX_GENERATION), bytes(SLOT))

    with pytest.raises(EnvelopeError, match="rewrapped 4294967295 times, the most a file can be"):
        Envelope(LOCAL).rewrap_file(path, wrappers=[LOCAL, NEW])

    assert Envelope(LOCAL).rewrap_file(path)
    assert slots_of(path)[0] == slots_of(path)[1] == header_of(path)


def test_the_last_generation_is_reached(path: Path) -> None:
    """One below the maximum, there is one exchange left."""
    made_of(path, *[header(generation=MAX_GENERATION - 1)] * 2)

    assert Envelope([LOCAL, NEW], also_open=[LOCAL]).rewrap_file(path)
    assert inspect_file(path).generation == MAX_GENERATION


def test_what_has_one_header_is_not_rewrapped_in_place(path: Path) -> None:
    """A stream from a pipe, and a message, say what to do instead."""
    for sealed in (stream(b"secret", OLD), Envelope(OLD).encrypt(b"secret", context={})):
        path.write_bytes(sealed)
        with pytest.raises(EnvelopeError, match="has one header, which cannot be exchanged in place"):
            Envelope(NEW, also_open=[OLD]).rewrap_file(path)
        assert path.read_bytes() == sealed


def test_a_new_kek_that_is_away_changes_nothing(path: Path) -> None:
    """If the new KEK's holder cannot be reached, the file is as before."""
    away = FlakyWrapper(NEW)
    away.unavailable = True
    before = path.read_bytes()

    with pytest.raises(WrapperUnavailableError):
        Envelope(away, also_open=[OLD]).rewrap_file(path)

    assert path.read_bytes() == before


def test_a_disk_that_loses_what_is_written_is_found_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header is read back before the other one is given up."""
    with monkeypatch.context() as faulty:
        faulty.setattr(os, "pwrite", lambda _, data, __: len(data))
        with pytest.raises(EnvelopeError, match="does not read back: the disk is failing"):
            Envelope(NEW, also_open=[OLD]).rewrap_file(path)
    assert opens(path, OLD)


def test_short_writes_are_completed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes 1,000 bytes at a time gets the whole header."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:1000], offset))

    Envelope(NEW, also_open=[OLD]).rewrap_file(path)

    assert opens(path, NEW)
    assert inspect_file(path).faults == ()


def test_an_envelope_opens_each_header_once(path: Path) -> None:
    """Two equal headers cost one unwrap, two different ones two."""
    counting = Counting(OLD)
    opens(path, counting)
    assert counting.unwraps == 1
    Envelope([OLD, NEW]).rewrap_file(path)
    refile(path, lambda data: data.__setitem__(slice(SLOT), slotted(b"secret", OLD)[:SLOT]))

    with pytest.raises(EnvelopeError):
        opens(path, counting)
    assert counting.unwraps == 3


# ---------------------------------------------------------------------------------------------- several at once


def exchange(path: Path, times: int, done: Any) -> None:
    """Give the file to one KEK and to the other, in turns."""
    done.put(sum(Envelope(pair[0], also_open=pair[1:]).rewrap_file(path) for _ in range(times) for pair in ((NEW, OLD), (OLD, NEW))))


def test_two_exchanges_at_once_lose_nothing(path: Path, count: Count) -> None:
    """Two processes that exchange its recipients 200 times each, with a reader throughout: every one is counted."""
    done = _fork.Queue()
    writers = [_fork.Process(target=exchange, args=(path, 100, done)) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert opens(path, OLD, NEW)
        reads += 1
    changes = sum(done.get() for _ in writers)
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert inspect_file(path).generation == changes
    assert slots_of(path)[0] == slots_of(path)[1]
    assert opens(path, OLD) != opens(path, NEW)
    count("exchanges of recipients by two processes at once", changes)
    count("reads in the middle of exchanges", reads)


class Late:
    """A KEK that is gone when it is asked for, since its files were given to another one just before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name, self.key_ref, self.outsiders_can_wrap = OLD.name, OLD.key_ref, OLD.outsiders_can_wrap
        self.opens = OLD.opens

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        Envelope(NEW, also_open=[OLD]).rewrap_file(self._path)
        raise WrapperDeniedError

    wrap = wrap_many = unwrap_many = NotImplemented


def test_headers_that_were_exchanged_while_they_were_read_are_read_once_more(path: Path) -> None:
    """What does not open, and is not what the file says by now, is no failure of the file."""
    assert opens(path, Late(path), NEW)


def test_the_second_of_two_exchanges_finds_the_first(path: Path) -> None:
    """Who waited for the lock sees what was written meanwhile."""
    assert Envelope(NEW, also_open=[OLD]).rewrap_file(path)
    with pytest.raises(KeyNotFoundError):
        Envelope(OTHER, also_open=[OLD]).rewrap_file(path)
    assert opens(path, NEW)


# ---------------------------------------------------------------------------------------------- large files


def sparse(path: Path, *, last: int) -> None:
    """Make a file whose chunks 0 and ``last`` are there, and nothing in between."""
    made = read_header(io.BytesIO(header()).read).header
    context = payload_context(made, CONTEXT)
    encryptor = StreamEncryptor(DATA_KEY.payload_key(STREAM), context)
    start = encryptor.update(b"\x41" * CHUNK_SIZE) + encryptor.finalize()
    opener = ChunkOpener(DATA_KEY.payload_key(STREAM), context, start[:HEADER_SIZE])
    sealed: bytes = AESGCM.encrypt(opener._cipher, opener._nonce(last), b"the end", None)
    with path.open("wb") as file:
        file.write(header() * 2 + start[: HEADER_SIZE + SEALED_CHUNK_SIZE])
        file.seek(2 * SLOT + HEADER_SIZE + last * SEALED_CHUNK_SIZE)
        file.write(sealed)


def test_a_file_of_a_terabyte(tmp_path: Path, count: Count) -> None:
    """Its recipients are exchanged in milliseconds, without a block of the payload, and its end is read at once."""
    path, last = tmp_path / "tera.sk", 1 << 26
    sparse(path, last=last)
    size, blocks = path.stat().st_size, path.stat().st_blocks
    assert size > 10**12

    begin = time.perf_counter()
    assert Envelope(NEW, also_open=[LOCAL]).rewrap_file(path, context=CONTEXT)
    rewrapped = time.perf_counter()
    with Envelope(NEW).open_reader(path, context=CONTEXT) as reader:
        assert reader.seek(-4, os.SEEK_END) == last * CHUNK_SIZE + 3
        assert reader.read() == b" end"
        reader.seek(0)
        assert reader.read(CHUNK_SIZE) == b"\x41" * CHUNK_SIZE
        with pytest.raises(DecryptionError):
            reader.read(1)
    taken = time.perf_counter()

    assert (path.stat().st_size, path.stat().st_blocks) == (size, blocks)
    assert inspect_file(path).plaintext_size == last * CHUNK_SIZE + 7
    assert taken - begin < 1
    count("milliseconds to exchange the recipients of a terabyte", round(1000 * (rewrapped - begin)))


class Long(Counting):
    """A wrapper whose copies are long."""

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        return replace(super().wrap(key, binding), about={str(number): "x" * 500 for number in range(6)})


@pytest.mark.parametrize(("recipients", "size"), [(1, 8192), (2, 16384), (32, 1 << 18), (64, 1 << 19)])
def test_the_slots_leave_as_much_room_again(recipients: int, size: int, tmp_path: Path) -> None:
    """Twice as many recipients as there were at first fit, as long as the largest slot has room for them."""
    path = tmp_path / "file.sk"
    first = [Long(local(number)) for number in range(recipients)]
    path.write_bytes(slotted(b"secret", *first))
    more = [Long(local(number)) for number in range(min(64, 2 * recipients - 1))]

    assert inspect_file(path).slot_size == size
    Envelope(first).rewrap_file(path, wrappers=more)
    assert len(inspect_file(path).recipients) == len(more)
    assert opens(path, more[-1])
