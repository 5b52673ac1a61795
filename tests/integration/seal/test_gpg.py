# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing with gpg: for recipients and with a passphrase; nobody's keyring is touched, and no key and no agent is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Stage, run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import gpg_home
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, Opener, WrongIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, sealer, shortcoming
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg import HEAD_BYTES
from support.keys import KeyPair, gpg_pair
from support.leaks import eventually, leaves_nothing

pytestmark = pytest.mark.needs("program:gpg", "program:gpg-agent", "program:gpgconf")

WAYS = ("gpg", "gpg-symmetric")
PLAIN = random.Random(7).randbytes(700_000)
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module", autouse=True)
def our_own_homes() -> Iterator[None]:
    """Homes of these tests have a name of their own: others at work on this machine make such homes, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpg_home, "PREFIX", f"{gpg_home.PREFIX}{os.getpid()}-")
        yield


def homes() -> set[Path]:
    """Private homes that exist, and agents that run in one, as directories of /proc."""
    running = {path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if gpg_home.PREFIX.encode() in read(path)}
    return running | set(Path(gpg_home.IN_MEMORY).glob(f"*{gpg_home.PREFIX}*")) | set(Path("/tmp").glob(f"*{gpg_home.PREFIX}*"))


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = homes()
    yield
    # An agent that was told to end does so in a moment; what was left behind stays.
    eventually(lambda: homes() <= before, "no home, no gpg and no agent is left")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    place = tmp_path_factory.mktemp("gpg")
    return {name: gpg_pair(place / name) for name in ("here", "safe", "stranger")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("passphrases")
    secret_file(directory / "right", f"{PASSPHRASE}\n")
    secret_file(directory / "wrong", "wrong horse battery staple\n")
    return directory


def secret_file(path: Path, content: str | bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def public(pair: KeyPair) -> str:
    return f"{pair.path}.pub"


def through(stage: Stage, data: bytes) -> bytes:
    output = bytearray()
    with leaves_nothing():
        run_through([stage], [data], output.extend)
    return bytes(output)


@pytest.fixture(scope="module")
def sealed(keys: dict[str, KeyPair], place: Path) -> dict[str, bytes]:
    return {
        "gpg": through(sealer({"method": "gpg", "recipients": [public(keys["here"]), public(keys["safe"])]}).stage(), PLAIN),
        "gpg-symmetric": through(sealer({"method": "gpg-symmetric", "passphrase_file": str(place / "right")}).stage(), PLAIN),
    }


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def right(way: str, keys: dict[str, KeyPair], place: Path) -> Opener:
    return opener(way, keys["here"].path) if way == "gpg" else opener(way, passphrase_file=str(place / "right"))


def wrong(way: str, keys: dict[str, KeyPair], place: Path) -> Opener:
    return opener(way, keys["stranger"].path) if way == "gpg" else opener(way, passphrase_file=str(place / "wrong"))


def test_each_recipient_alone_opens_it(keys: dict[str, KeyPair], sealed: dict[str, bytes]) -> None:
    for name in ("here", "safe"):
        assert through(opener("gpg", keys[name].path).stage(), sealed["gpg"]) == PLAIN


def test_the_passphrase_opens_it_and_bare_gpg_does_too(sealed: dict[str, bytes], place: Path, tmp_path: Path) -> None:
    assert through(opener("gpg-symmetric", passphrase_file=str(place / "right")).stage(), sealed["gpg-symmetric"]) == PLAIN
    argv = ["gpg", "--homedir", str(tmp_path), "--batch", "--no-autostart", "--pinentry-mode", "loopback", "--passphrase-file"]
    opened = subprocess.run([*argv, str(place / "right"), "--decrypt"], input=sealed["gpg-symmetric"], capture_output=True)
    assert (opened.returncode, opened.stdout == PLAIN) == (0, True)


def test_nothing_seals_to_something_that_opens_to_nothing(way: str, keys: dict[str, KeyPair], place: Path) -> None:
    given = {"recipients": [public(keys["here"])]} if way == "gpg" else {"passphrase_file": str(place / "right")}
    assert through(right(way, keys, place).stage(), through(sealer({"method": way, **given}).stage(), b"")) == b""


def test_the_algorithms_are_what_the_page_says(sealed: dict[str, bytes], tmp_path: Path) -> None:
    argv = ["gpg", "--homedir", str(tmp_path), "--batch", "--no-autostart", "--list-packets"]
    said = subprocess.run(argv, input=sealed["gpg-symmetric"], capture_output=True).stdout.decode()
    assert "cipher 9" in said  # AES-256
    assert "s2k 3, hash 10" in said  # iterated and salted, SHA-512
    assert "count 65011712" in said


def test_the_manifest_gets_exact_fingerprints_whatever_way_a_key_was_given(keys: dict[str, KeyPair], tmp_path: Path) -> None:
    armored = Path(public(keys["safe"])).read_text()
    keyring = tmp_path / "keyring.asc"
    keyring.write_text("".join(Path(public(pair)).read_text() for pair in keys.values()))
    here = " ".join(keys["here"].public[at : at + 4] for at in range(0, 40, 4)).lower()
    made = sealer({"method": "gpg", "recipients": [here, armored, public(keys["here"])], "keyring_file": str(keyring)})
    assert made.recipients == (keys["here"].public, keys["safe"].public)
    assert (made.suffix, made.notes) == (".gpg", ())
    assert through(opener("gpg", keys["safe"].path).stage(), through(made.stage(), b"x" * 5000)) == b"x" * 5000
    with pytest.raises(WrongIdentity):
        through(opener("gpg", keys["stranger"].path).stage(), through(made.stage(), b"x"))


def test_a_stranger_does_not_open_it(way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path) -> None:
    with pytest.raises(WrongIdentity, match=r"^the (identity|passphrase) in .* does not open this backup"):
        through(wrong(way, keys, place).stage(), sealed[way])


@pytest.mark.parametrize("kept", [0, 5, 60, 300, 30_000, 500_000, -1])
def test_a_cut_backup_is_damaged_wherever_it_was_cut(
    way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path, kept: int
) -> None:
    with pytest.raises(DamagedSeal, match="the sealed backup is damaged or cut"):
        through(right(way, keys, place).stage(), sealed[way][:kept])


@pytest.mark.parametrize("position", [0, 1, 500_000, -30, -1])
def test_a_flipped_bit_is_damage(way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path, position: int) -> None:
    damaged = bytearray(sealed[way])
    damaged[position] ^= 1
    with pytest.raises((DamagedSeal, SealError)):
        through(right(way, keys, place).stage(), bytes(damaged))


def test_a_bit_flipped_late_is_damage_although_gpg_has_written_everything(
    way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path
) -> None:
    damaged, output = bytearray(sealed[way]), bytearray()
    damaged[-1] ^= 1
    with pytest.raises(DamagedSeal, match="manipulated"):
        run_through([right(way, keys, place).stage()], [bytes(damaged)], output.extend)
    assert len(output) == len(PLAIN)  # which is why nothing of it may be used before the end


def test_no_flipped_bit_of_a_header_gives_other_bytes(way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path) -> None:
    # A header is not authenticated in OpenPGP: what concerns another recipient may change unseen. Its digest in the manifest tells.
    small = sealed[way][:2000]
    for position in range(0, 120, 17):
        damaged = bytearray(small)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(SealError):
            through(right(way, keys, place).stage(), bytes(damaged))


def test_what_was_never_sealed_is_refused_although_gpg_ends_well(way: str, keys: dict[str, KeyPair], place: Path, tmp_path: Path) -> None:
    argv = ["gpg", "--homedir", str(tmp_path), "--batch", "--no-autostart", "--store", "--output", "-"]
    literal = subprocess.run(argv, input=b"DROP DATABASE", capture_output=True, check=True).stdout
    with pytest.raises(DamagedSeal, match="never was sealed: gpg opened nothing in it"):
        through(right(way, keys, place).stage(), literal)


@pytest.mark.parametrize("other", [b"", b"more", PLAIN])
def test_bytes_behind_the_end_or_something_else_are_damage(
    way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path, other: bytes
) -> None:
    with pytest.raises(DamagedSeal) as caught:
        through(right(way, keys, place).stage(), sealed[way] + other if len(other) == 4 else other)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    with pytest.raises(DamagedSeal):
        through(right(way, keys, place).stage(), sealed[way] * 2)


def test_the_beginning_is_enough_to_know_whether_it_opens(
    way: str, keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path
) -> None:
    for head in (sealed[way][:HEAD_BYTES], sealed[way]):
        right(way, keys, place).check(head)
        with pytest.raises(WrongIdentity):
            wrong(way, keys, place).check(head)
    for no_beginning in (b"", b"PGDMP", sealed[way][:20]):
        with pytest.raises(DamagedSeal):
            right(way, keys, place).check(no_beginning)


def test_a_backup_of_one_method_is_not_opened_by_the_other(keys: dict[str, KeyPair], sealed: dict[str, bytes], place: Path) -> None:
    with pytest.raises(SealError):
        through(right("gpg", keys, place).stage(), sealed["gpg-symmetric"])
    with pytest.raises(SealError):
        through(right("gpg-symmetric", keys, place).stage(), sealed["gpg"])


def test_a_key_that_has_expired_or_soon_will_is_named(tmp_path: Path) -> None:
    soon = gpg_pair(tmp_path / "soon", expires="10d")
    (_only_one, note) = sealer({"method": "gpg", "recipients": [public(soon)]}).notes
    assert note.startswith(f"recipient {soon.public} expires on 20")
    late = gpg_pair(tmp_path / "late", expires="1d", made="20200101T000000")
    with pytest.raises(ConfigurationError, match=rf"the key {late.public} is expired \(encryption.recipients, number 1\)"):
        sealer({"method": "gpg", "recipients": [public(late)]})


def test_wrong_recipients_are_refused_by_position_and_never_shown(keys: dict[str, KeyPair], tmp_path: Path) -> None:
    good, secret = public(keys["here"]), Path(keys["here"].path).read_text()
    two = tmp_path / "two.asc"
    two.write_text(Path(good).read_text() + Path(public(keys["safe"])).read_text())
    (tmp_path / "nothing").write_text("nothing")
    for recipient, message in (
        (secret, "this is a secret key"),
        (keys["here"].path, "this is a secret key"),
        ("AGE-SECRET-KEY-1XYZ", "this is a secret key"),
        (str(two), "expected one public key, found 2 keys"),
        (str(tmp_path / "nothing"), "found no OpenPGP public key"),
        ("/nonexistent", "the key file cannot be read: No such file"),
        (keys["here"].public, "a fingerprint needs the keyring_file"),
        (keys["here"].public[-16:], "a part of a fingerprint is easily forged"),
        ("here@shop", "says nothing about whose key it is"),
        ("age1xyz", "a recipient for the method age"),
        ("--output=/etc/passwd", "expected the path of a public key's file"),
    ):
        with pytest.raises(ConfigurationError, match=message) as caught:
            sealer({"method": "gpg", "recipients": [good, recipient]})
        assert "number 2" in str(caught.value)
        assert secret.splitlines()[3] not in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"no key of fingerprint {keys['here'].public} is in"):
        sealer({"method": "gpg", "recipients": [keys["here"].public], "keyring_file": public(keys["safe"])})
    with pytest.raises(ConfigurationError, match="it holds a secret key"):
        sealer({"method": "gpg", "recipients": [keys["here"].public], "keyring_file": keys["here"].path})


def test_an_identity_that_cannot_serve_is_refused_before_anything_runs(keys: dict[str, KeyPair], tmp_path: Path) -> None:
    locked = gpg_pair(tmp_path / "locked", passphrase="correct horse")
    mine = secret_file(tmp_path / "public", Path(public(keys["here"])).read_bytes())
    for path, message in (
        (locked.path, "protected by a passphrase, and nobody is there to type it"),
        (mine, "this is a recipient, the public half"),
        (secret_file(tmp_path / "other", "AGE-SECRET-KEY-1"), "it holds no OpenPGP secret key"),
        (public(keys["here"]), "others can read it"),
        (str(tmp_path / "none"), "there is no such file"),
    ):
        with pytest.raises(SealError, match=message):
            opener("gpg", path)


def test_a_key_whose_secret_half_lives_elsewhere_is_named(keys: dict[str, KeyPair], tmp_path: Path) -> None:
    home = ["gpg", "--homedir", str(tmp_path), "--batch", "--quiet"]
    subprocess.run([*home, "--import", keys["here"].path], check=True, capture_output=True)
    for file in (tmp_path / "private-keys-v1.d").iterdir():
        grip = subprocess.run([*home, "--with-colons", "--with-keygrip", "-K"], check=True, capture_output=True, text=True).stdout
        if file.stem in grip.partition("\nssb:")[2]:
            file.unlink()  # the subkey that opens; the primary key, which only signs, stays
    stub = subprocess.run([*home, "--export-secret-keys"], capture_output=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(tmp_path), "--kill", "gpg-agent"], check=True)
    if stub:
        with pytest.raises(SealError):
            through(opener("gpg", secret_file(tmp_path / "stub", stub)).stage(), through(_for(keys["here"]).stage(), b"x"))


def _for(pair: KeyPair):  # type: ignore[no-untyped-def]
    return sealer({"method": "gpg", "recipients": [public(pair)]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ("   \n", "it is empty"),
        (f"{PASSPHRASE}\nsecond line\n", "more than one line"),
        (f"{PASSPHRASE}\n\n", "more than one line"),
        ("correct horse\n", "too easy to guess: 20 characters at least"),
        ("abababababababababababab\n", "too easy to guess"),
        (f"{PASSPHRASE}\r\n", "control characters"),
        (f" {PASSPHRASE}\n", "control characters, or blanks at an end"),
        (b"\xff" * 30, "not text in UTF-8"),
        (PASSPHRASE * 12, "longer than 255 bytes"),
    ],
)
def test_a_passphrase_file_that_is_not_one_good_line_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = secret_file(tmp_path / "passphrase", content)
    with pytest.raises(SealError, match=message) as caught:
        sealer({"method": "gpg-symmetric", "passphrase_file": path})
    assert PASSPHRASE not in str(caught.value)
    with pytest.raises(SealError, match=message):
        opener("gpg-symmetric", passphrase_file=path)


def test_a_passphrase_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "passphrase", PASSPHRASE)
    os.chmod(path, 0o644)
    with pytest.raises(SealError, match="others can read it"):
        sealer({"method": "gpg-symmetric", "passphrase_file": path})


def test_a_passphrase_is_told_to_nobody(place: Path) -> None:
    made = sealer({"method": "gpg-symmetric", "passphrase_file": str(place / "right")})
    assert "law 5 does not hold" in made.notes[0]
    assert made.notes[0] == shortcoming("gpg-symmetric")
    seen: list[str] = []
    stage = made.stage()

    def look() -> Iterator[bytes]:
        yield PLAIN * 4  # more than the pipes hold: gpg reads, so it runs
        for path in Path("/proc").glob("[0-9]*"):
            seen.extend((read(path / "cmdline") + read(path / "environ")).decode("utf-8", "replace").split("\0"))

    run_through([stage], look(), lambda chunk: None)
    assert any("--passphrase-fd" in word for word in seen)
    assert not any(PASSPHRASE in word for word in seen)
    assert PASSPHRASE not in f"{made!r} {vars(made)} {vars(stage)} {opener('gpg-symmetric', passphrase_file=str(place / 'right'))!r}"


def test_what_a_killed_process_left_is_removed_by_the_next_one(keys: dict[str, KeyPair], sealed: dict[str, bytes]) -> None:
    script = """
import os, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import gpg_home
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline
gpg_home.PREFIX = os.environ["HOMES_OF_THE_TEST"]
stage = opener("gpg", sys.argv[1]).stage()
def forever():
    yield sys.stdin.buffer.read(100_000)
    print("opening", flush=True)
    sys.stdin.buffer.read()
with Pipeline([stage], forever()) as stream:
    for chunk in stream:
        pass
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOMES_OF_THE_TEST": gpg_home.PREFIX}
    argv = [sys.executable, "-c", script, keys["here"].path]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(sealed["gpg"][:100_000])
        process.stdin.flush()
        assert process.stdout.readline() == b"opening\n"
        eventually(lambda: any(path.parent == Path("/proc") for path in homes()), "an agent serves it")
        os.kill(process.pid, signal.SIGKILL)
    assert homes()  # the secret key lies there, in memory
    gpg_home.remove_stale_homes()
    eventually(lambda: not homes(), "no home, no gpg and no agent")


def test_a_home_in_use_is_not_taken_for_a_remainder(keys: dict[str, KeyPair]) -> None:
    with gpg_home.GpgHome(gpg_home.find_gpg()) as home:
        assert (home.path.stat().st_mode & 0o777) == 0o700
        sealer({"method": "gpg", "recipients": [public(keys["here"])]})
        gpg_home.remove_stale_homes()
        assert home.path.exists()
    assert not home.path.exists()


def test_nobodys_keyring_is_touched(keys: dict[str, KeyPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GNUPGHOME", str(tmp_path))
    through(opener("gpg", keys["here"].path).stage(), through(_for(keys["here"]).stage(), b"x"))
    assert os.listdir(tmp_path) == []


def test_without_gpg_the_package_is_named(keys: dict[str, KeyPair], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingTool, match=r"the program gpg was not found\. Install the package gnupg"):
        _for(keys["here"])
    (tmp_path / "gpg").write_text("#!/bin/sh\necho 'gpg (GnuPG) 2.1.18'\n")
    (tmp_path / "gpg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(MissingTool, match=r"gpg is 2\.1\.18, needed is 2\.2\.8 or newer"):
        _for(keys["here"])
