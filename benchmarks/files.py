# SPDX-License-Identifier: Apache-2.0
"""Envelopes and sealed files: messages beside the AWS Encryption SDK, streams beside bare Cobblestone, commands beside age."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import aws_encryption_sdk
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import AesWrappingAlg, CreateRawAesKeyringInput
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.ratio import Ratio, compare, show
from securekit.envelope import Envelope
from securekit.wrappers import LocalWrapper, new_identity

GIB = 1 << 30
MIB = 1 << 20
CHUNK, SEALED_CHUNK = 16_384, 16_400
READS = 10_000
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, where there is one
COMMAND = Path(sys.executable).with_name("securekit")


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    yield from messages()
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield from streams(Path(folder))
        yield from random_reads(Path(folder))
        yield from rewraps(Path(folder))
        yield from commands(Path(folder))


def messages() -> Iterator[Ratio]:
    """Whole messages with one local recipient."""
    envelope, cipher = Envelope([LocalWrapper(os.urandom(32))]), AESGCM(os.urandom(32))
    context = {"table": "invoice", "id": "42"}
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=aws_encryption_sdk.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    keyring = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig()).create_raw_aes_keyring(
        input=CreateRawAesKeyringInput(
            key_namespace="benchmarks", key_name="kek", wrapping_key=os.urandom(32), wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16
        )
    )
    suite = aws_encryption_sdk.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    small = os.urandom(1024)
    yield compare(
        lambda: envelope.encrypt(small, context=context),
        lambda: client.encrypt(source=small, keyring=keyring, algorithm=suite, encryption_context=context),
        name="`Envelope.encrypt` 1 KiB, AWS Encryption SDK with a raw AES keyring",
        goal=20,
        at_least=True,
        rounds=51,
        number=50,
    )
    for size, goal in ((1, 1.25), (16, None)):
        data = os.urandom(size * MIB)
        yield compare(
            partial(envelope.encrypt, data, context=context),
            partial(_bare, cipher, data),
            name=f"`Envelope.encrypt` {size} MiB, bare `AESGCM.encrypt`",
            goal=goal,
            rounds=51,
            number=10 if size == 1 else 2,
        )


def _bare(cipher: AESGCM, data: bytes) -> bytes:
    return cipher.encrypt(os.urandom(12), data, b"context")


def streams(folder: Path) -> Iterator[Ratio]:
    """One GiB to and from a file, through the same buffers."""
    envelope, key = Envelope([LocalWrapper(os.urandom(32))]), os.urandom(32)
    block, ours, bare = memoryview(os.urandom(MIB)), folder / "ours", folder / "bare"
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is now what is used now: proc(5)
    before = _peak()

    def write_bare() -> None:
        bare.unlink(missing_ok=True)
        encryptor, buffer = Cobblestone256Encryptor(key, b"context"), memoryview(bytearray(MIB + 65_536))
        with bare.open("wb", buffering=0) as file:
            for _ in range(GIB // MIB):
                file.write(buffer[: encryptor.update_into(block, buffer)])
            file.write(encryptor.finalize())

    def write_ours() -> None:
        ours.unlink(missing_ok=True)
        with envelope.open_writer(ours, context={}) as file:
            for _ in range(GIB // MIB):
                file.write(block)

    def read_bare() -> None:
        decryptor, buffer = Cobblestone256Decryptor(key, b"context"), bytearray(MIB + 65_536)
        with bare.open("rb", buffering=0) as file:
            while data := file.read(MIB):
                decryptor.update_into(data, buffer)
            decryptor.finalize()

    def read_ours() -> None:
        buffer = bytearray(MIB)
        with envelope.open_reader(ours, context={}) as file:
            while file.readinto(buffer):
                pass

    yield compare(write_ours, write_bare, name="writing 1 GiB to a file, bare Cobblestone-256", goal=1.15, rounds=7, number=1)
    yield compare(read_ours, read_bare, name="reading 1 GiB from a file, bare Cobblestone-256", goal=1.15, rounds=7, number=1)
    print(f"peak memory grew by {(_peak() - before) / 1024:.1f} MiB while 1 GiB was written and read; the goal is 8 MiB")


def _peak() -> int:
    """Return the most memory that this process has had, in KiB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def random_reads(folder: Path) -> Iterator[Ratio]:
    """Reads of 4 KiB at random offsets of 1 GiB."""
    envelope, ours, cipher = Envelope([LocalWrapper(os.urandom(32))]), folder / "ours", AESGCM(os.urandom(32))
    with envelope.open_writer(ours, context={}) as file:
        for _ in range(GIB // MIB):
            file.write(bytes(MIB))
    offsets = [random.randrange(GIB - 4096) for _ in range(READS)]  # noqa: S311 - where to read is no secret
    nonce, chunk = bytes(12), cipher.encrypt(bytes(12), bytes(CHUNK), None)

    def read_ours() -> None:
        with envelope.open_reader(ours, context={}) as file:
            for offset in offsets:
                file.seek(offset)
                file.read(4096)

    def read_bare() -> None:
        descriptor = os.open(ours, os.O_RDONLY)
        for offset in offsets:
            os.pread(descriptor, SEALED_CHUNK, 8248 + offset // CHUNK * SEALED_CHUNK)
            cipher.decrypt(nonce, chunk, None)
        os.close(descriptor)

    yield compare(
        read_ours,
        read_bare,
        name=f"{READS:,} reads of 4 KiB at random offsets of 1 GiB, `pread` and one bare decryption each",
        goal=2.0,
        rounds=11,
        number=1,
    )


def rewraps(folder: Path) -> Iterator[Ratio]:
    """Exchanging the recipient of a file in place: the size does not matter."""
    wrappers = [LocalWrapper(os.urandom(32)) for _ in range(2)]
    files = {}
    for name, size in (("4 MiB", 4 * MIB), ("4 GiB", 4 * GIB)):
        files[name] = folder / name.replace(" ", "")
        with Envelope([wrappers[0]]).open_writer(files[name], context={}) as file:
            for _ in range(size // MIB):
                file.write(bytes(MIB))
    turns = dict.fromkeys(files, 0)

    def rewrap(name: str) -> Callable[[], None]:
        def run() -> None:
            turns[name] ^= 1
            assert Envelope([wrappers[turns[name]]], also_open=wrappers).rewrap_file(files[name])

        return run

    yield compare(rewrap("4 GiB"), rewrap("4 MiB"), name="`rewrap_file` of 4 GiB, of 4 MiB", goal=1.5, rounds=51, number=10)
    for path in files.values():
        path.unlink()


def commands(folder: Path) -> Iterator[Ratio]:
    """Whole processes that encrypt and decrypt 1 GiB: age (Debian) and pyrage (PyPI), if they are there."""
    source = folder / "source"
    with source.open("wb") as out:
        for _ in range(GIB // MIB):
            out.write(os.urandom(MIB))
    new_identity("benchmark.example", key=folder / "host.key", cert=folder / "host.pem")
    ours = {
        "encrypting": [str(COMMAND), "encrypt", str(source), "--to", str(folder / "host.pem"), "-o", str(folder / "sealed.sk")],
        "decrypting": [
            str(COMMAND),
            "decrypt",
            str(folder / "sealed.sk"),
            "--identity",
            str(folder / "host.key"),
            "-o",
            str(folder / "plain"),
        ],
    }
    for peer, theirs in peers(folder, source).items():
        for what, command in theirs.items():
            walls, cpus = _in_turn(ours[what], command, folder)
            yield Ratio(f"`securekit` {what} 1 GiB, {peer}; wall time", *walls, goal=1.2, at_least=True)
            yield Ratio(f"`securekit` {what} 1 GiB, {peer}; user CPU", *cpus, goal=2.2 if peer == "age" else None, at_least=True)


def peers(folder: Path, source: Path) -> dict[str, dict[str, list[str]]]:
    """Return the commands of the programs to compare with."""
    found: dict[str, dict[str, list[str]]] = {}
    age, keygen = shutil.which("age"), shutil.which("age-keygen")
    if age is None or keygen is None:
        print("age is not installed; on Debian: apt-get install age")
        return found
    key = folder / "age.key"
    made = subprocess.run([keygen, "-o", str(key)], check=True, capture_output=True, text=True)
    recipient = made.stderr.split()[-1]
    sealed, plain = str(folder / "sealed.age"), str(folder / "plain")
    found["age"] = {
        "encrypting": [age, "-r", recipient, "-o", sealed, str(source)],
        "decrypting": [age, "-d", "-i", str(key), "-o", plain, sealed],
    }
    secret = key.read_text().splitlines()[-1]
    encrypt = "import pyrage, sys; pyrage.encrypt_file(sys.argv[1], sys.argv[2], [pyrage.x25519.Recipient.from_str(sys.argv[3])])"
    decrypt = "import pyrage, sys; pyrage.decrypt_file(sys.argv[1], sys.argv[2], [pyrage.x25519.Identity.from_str(sys.argv[3])])"
    found["pyrage"] = {
        "encrypting": [sys.executable, "-c", encrypt, str(source), sealed, recipient],
        "decrypting": [sys.executable, "-c", decrypt, sealed, plain, secret],
    }
    return found


def _in_turn(subject: list[str], reference: list[str], folder: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """Run two commands in turn; return the medians of their wall times, and of their user CPU times."""
    times: list[list[tuple[float, float]]] = [[], []]
    for _ in range(5):
        for number, command in enumerate((subject, reference)):
            (folder / "plain").unlink(missing_ok=True)
            if "encrypt" in command[1] or "-r" in command or "encrypt_file" in command[2]:
                (folder / "sealed.sk" if number == 0 else folder / "sealed.age").unlink(missing_ok=True)
            begin, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[number].append((perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before))
    ours, theirs = ([median(values) for values in zip(*measured, strict=True)] for measured in times)
    return (ours[0], theirs[0]), (ours[1], theirs[1])


if __name__ == "__main__":
    show(*measure())
