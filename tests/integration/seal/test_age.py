# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program age and its library write and read the same, and both tell a wrong identity from damaged bytes."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Stage, run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, Opener, WrongIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, sealer
from support.keys import KeyPair, age_pair, ssh_pair
from support.leaks import leaves_nothing

pytestmark = pytest.mark.needs("program:age", "program:age-keygen", "program:ssh-keygen", "library:pyrage")

WAYS = ("program", "library")
PAYLOAD_CHUNK = 64 * 1024 + 16
PLAIN = random.Random(7).randbytes(300_000)


def through(stage: Stage, data: bytes) -> bytes:
    output = bytearray()
    with leaves_nothing():
        run_through([stage], [data], output.extend)
    return bytes(output)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    place = tmp_path_factory.mktemp("keys")
    pairs = {name: age_pair(place / name) for name in ("here", "safe", "stranger")}
    return {**pairs, "ed25519": ssh_pair(place / "ed25519"), "rsa": ssh_pair(place / "rsa", "rsa", "", "-b", "2048")}


@pytest.fixture(scope="module", params=WAYS)
def sealed(request: pytest.FixtureRequest, keys: dict[str, KeyPair]) -> bytes:
    recipients = [keys[name].public for name in ("here", "safe", "ed25519", "rsa")]
    return through(sealer({"recipients": recipients}, prefer=request.param).stage(), PLAIN)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def open_with(keys: dict[str, KeyPair], name: str, way: str) -> Opener:
    return opener("age", keys[name].path, prefer=way)


def payload_start(sealed: bytes) -> int:
    """Behind the header's MAC line comes a nonce of 16 bytes, then the chunks (age-encryption.org/v1)."""
    return sealed.index(b"\n", sealed.index(b"\n---") + 1) + 1 + 16


@pytest.mark.parametrize("name", ["here", "safe", "ed25519", "rsa"])
def test_each_recipient_alone_opens_what_either_of_both_sealed(keys: dict[str, KeyPair], sealed: bytes, way: str, name: str) -> None:
    assert PLAIN not in sealed
    assert through(open_with(keys, name, way).stage(), sealed) == PLAIN


def test_nothing_seals_to_something_that_opens_to_nothing(keys: dict[str, KeyPair], way: str) -> None:
    assert through(open_with(keys, "here", way).stage(), through(sealer({"recipients": [keys["here"].public]}, way).stage(), b"")) == b""


def test_a_stranger_does_not_open_it(keys: dict[str, KeyPair], sealed: bytes, way: str) -> None:
    with pytest.raises(WrongIdentity) as caught:
        through(open_with(keys, "stranger", way).stage(), sealed)
    assert str(caught.value).startswith(f"the identity in {keys['stranger'].path} does not open this backup (age).")


@pytest.mark.parametrize("kept", ["nothing", "half a header", "the header", "one chunk", "up to a chunk's end", "all but one byte"])
def test_a_cut_backup_is_damaged_wherever_it_was_cut(keys: dict[str, KeyPair], sealed: bytes, way: str, kept: str) -> None:
    start = payload_start(sealed)
    size = {"nothing": 0, "half a header": 80, "the header": start - 16, "one chunk": start + 70_000,
            "up to a chunk's end": start + 2 * PAYLOAD_CHUNK, "all but one byte": len(sealed) - 1}[kept]  # fmt: skip
    with pytest.raises(DamagedSeal, match="the sealed backup is damaged or cut"):
        through(open_with(keys, "here", way).stage(), sealed[:size])


@pytest.mark.parametrize("place", ["version", "header's checksum", "nonce", "first chunk", "last chunk", "last byte"])
def test_a_flipped_bit_is_damage(keys: dict[str, KeyPair], sealed: bytes, way: str, place: str) -> None:
    start = payload_start(sealed)
    position = {"version": 3, "header's checksum": sealed.index(b"\n---") + 10, "nonce": start - 5, "first chunk": start + 5,
                "last chunk": start + 4 * PAYLOAD_CHUNK + 5, "last byte": len(sealed) - 1}[place]  # fmt: skip
    damaged = bytearray(sealed)
    damaged[position] ^= 1
    with pytest.raises(DamagedSeal, match="the sealed backup is damaged or cut"):
        through(open_with(keys, "here", way).stage(), bytes(damaged))


def test_a_flipped_bit_anywhere_in_the_header_is_named(keys: dict[str, KeyPair], sealed: bytes, way: str) -> None:
    # In the identity's own line a flip cannot be told from another recipient: the first is as true a sentence as the second.
    for position in range(0, payload_start(sealed), 1 if way == "library" else 11):
        for bit in (1, 2, 16, 128) if way == "library" else (1 << position % 8,):
            damaged = bytearray(sealed[: payload_start(sealed) + 200])
            damaged[position] ^= bit
            with pytest.raises((DamagedSeal, WrongIdentity)):
                through(open_with(keys, "here", way).stage(), bytes(damaged))


def test_bytes_behind_the_end_are_damage(keys: dict[str, KeyPair], sealed: bytes, way: str) -> None:
    with pytest.raises(DamagedSeal):
        through(open_with(keys, "here", way).stage(), sealed + b"more")


def test_something_else_than_a_sealed_backup_is_a_short_sentence(keys: dict[str, KeyPair], way: str) -> None:
    with pytest.raises(DamagedSeal) as caught:
        through(open_with(keys, "here", way).stage(), random.Random(8).randbytes(100_000))
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_the_beginning_is_enough_to_know_whether_an_identity_fits(keys: dict[str, KeyPair], sealed: bytes, way: str) -> None:
    head = sealed[:8192]
    open_with(keys, "safe", way).check(head)
    open_with(keys, "safe", way).check(sealed)
    with pytest.raises(WrongIdentity):
        open_with(keys, "stranger", way).check(head)
    for no_beginning in (b"", b"PGDMP", head[:60]):
        with pytest.raises(DamagedSeal):
            open_with(keys, "safe", way).check(no_beginning)


def test_an_ssh_key_with_a_passphrase_is_refused_before_anything_runs(tmp_path: Path, way: str) -> None:
    with pytest.raises(SealError, match=r"protected by a passphrase.* ssh-keygen -p -f"):
        opener("age", ssh_pair(tmp_path / "key", passphrase="correct horse").path, prefer=way)
    with pytest.raises(SealError, match="protected by a passphrase"):
        opener("age", ssh_pair(tmp_path / "old", "rsa", "correct horse", "-m", "PEM").path, prefer=way)


def test_an_identity_that_is_called_like_an_option_is_a_file_all_the_same(
    keys: dict[str, KeyPair], sealed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-", "-o", "id $(date) ü"):
        (tmp_path / name).write_bytes(Path(keys["here"].path).read_bytes())
        (tmp_path / name).chmod(0o600)
        assert through(opener("age", name, prefer=way).stage(), sealed) == PLAIN


def test_the_bare_program_opens_what_the_library_sealed(keys: dict[str, KeyPair]) -> None:
    sealed = through(sealer({"recipients": [keys["safe"].public]}, prefer="library").stage(), PLAIN)
    assert subprocess.run(["age", "-d", "-i", keys["safe"].path], input=sealed, capture_output=True, check=True).stdout == PLAIN


def test_no_part_of_an_identity_is_in_an_argument_or_the_environment(keys: dict[str, KeyPair]) -> None:
    stage = open_with(keys, "here", "program").stage()
    secret = next(line for line in Path(keys["here"].path).read_text().splitlines() if line.startswith("AGE-SECRET-KEY-"))
    assert secret not in str(vars(stage))


@pytest.mark.parametrize("writer", WAYS)
def test_in_memory_it_is_the_same(keys: dict[str, KeyPair], way: str, writer: str) -> None:
    sealed = sealer({"recipients": [keys["here"].public]}, writer).seal(PLAIN)
    assert PLAIN not in sealed
    ours = open_with(keys, "here", way)
    assert ours.open(sealed) == PLAIN
    assert through(ours.stage(), sealed) == PLAIN
    with pytest.raises(WrongIdentity):
        open_with(keys, "stranger", way).open(sealed)
    for damaged in (sealed[:-1], sealed[:-100] + bytes([sealed[-100] ^ 1]) + sealed[-99:], sealed[:40], b""):
        with pytest.raises(DamagedSeal):
            ours.open(damaged)
