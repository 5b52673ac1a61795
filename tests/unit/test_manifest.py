# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: written stably, read strictly."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume, split_signature
from support.backups import manifest_for, new_ref

DIGEST = hashlib.sha256(b"x").hexdigest()
ARTIFACT = Artifact("database.dump.zst.age", "dump", 3, DIGEST, (Volume("a", 1, DIGEST), Volume("a.001", 2, DIGEST)))


@pytest.fixture
def manifest() -> Manifest:
    return manifest_for(new_ref())([ARTIFACT], {"here": "", "offsite": "unreachable"})


def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_the_same_manifest_gives_the_same_bytes(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes()).to_bytes() == manifest.to_bytes()


def test_a_signature_covers_everything_but_itself(manifest: Manifest) -> None:
    signed = dataclasses.replace(manifest, signature="-----BEGIN SSH SIGNATURE-----")
    assert signed.signed_bytes() == manifest.signed_bytes()
    assert dataclasses.replace(manifest, plain_bytes=1).signed_bytes() != manifest.signed_bytes()


def test_what_a_signature_covers_is_found_in_the_stored_bytes_without_reading_them(manifest: Manifest) -> None:
    signed = dataclasses.replace(manifest, signature='-----BEGIN "SSH"\\ SIGNATURE-----\nAAAA\n')
    assert split_signature(signed.to_bytes()) == (manifest.signed_bytes(), signed.signature)
    assert split_signature(manifest.to_bytes()) is None, "it is not signed"


def test_a_signature_anywhere_but_in_its_own_place_is_not_taken_for_one(manifest: Manifest) -> None:
    # A repository may be called so; what the document says of itself lies two spaces deep, and in one line only.
    odd = dataclasses.replace(manifest, repositories={"signature": "a lie"}, notes=('\n  "signature": "a lie"\n',))
    assert split_signature(odd.to_bytes()) is None
    signed = dataclasses.replace(odd, signature="good")
    assert split_signature(signed.to_bytes()) == (odd.signed_bytes(), "good")
    twice = signed.to_bytes().replace(b'  "system"', b'  "signature": "bad",\n  "system"')
    assert split_signature(twice) is None


def altered(manifest: Manifest, **changes: Any) -> bytes:
    document = {**json.loads(manifest.to_bytes()), **changes}
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"schema": ...}, "schema None"),
        ({"tables": 3}, "not known: ['tables']"),
        ({"system": ...}, "fields missing: ['system']"),
        ({"system": 3}, "'system': expected text, found 3"),
        ({"plain_bytes": -1}, "'plain_bytes': expected a whole number, found -1"),
        ({"plain_bytes": True}, "'plain_bytes': expected a whole number"),
        ({"snapshot_at": "yesterday"}, "'snapshot_at': 'yesterday' is not a moment"),
        ({"artifacts": [{"name": "a"}]}, "'artifacts': fields missing"),
        ({"artifacts": {}}, "'artifacts': expected a list"),
        ({"repositories": []}, "'repositories': expected a JSON object"),
        (
            {"artifacts": [{"name": "a", "role": "dump", "size_bytes": 9, "sha256": DIGEST, "volumes": []}]},
            "the volumes of 'a' do not add up",
        ),
        (
            {"artifacts": [{"name": "a", "role": "tea", "size_bytes": 0, "sha256": DIGEST, "volumes": []}]},
            "expected one of backup_manifest, base, dump, evidence, instructions, key, found 'tea'",
        ),
        ({"artifacts": [{"name": "a", "role": "dump", "size_bytes": 0, "sha256": "beef", "volumes": []}]}, "expected a SHA-256"),
    ],
)
def test_an_altered_manifest_is_refused_by_name(manifest: Manifest, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.from_bytes(altered(manifest, **changes), "repository here")
    assert message in str(caught.value)
    assert "repository here" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_manifest_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match="not"):
        Manifest.from_bytes(data)


def test_every_cut_of_a_manifest_is_refused(manifest: Manifest) -> None:
    whole = manifest.to_bytes()
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(ManifestError):
            Manifest.from_bytes(whole[:length])


def test_a_role_that_is_not_there_is_named(manifest: Manifest) -> None:
    assert manifest.artifact("dump") is ARTIFACT
    with pytest.raises(ManifestError, match="has no evidence"):
        manifest.artifact("evidence")


def test_moments_are_utc() -> None:
    assert strict.moment("2026-11-21T03:15:00.250000Z").isoformat() == "2026-11-21T03:15:00.250000+00:00"


def test_a_manifest_from_before_there_were_keys_is_read_and_its_signature_still_covers_it(manifest: Manifest) -> None:
    assert b'"keys"' not in manifest.to_bytes(), "what says nothing of keys is what it was before"
    named = dataclasses.replace(manifest, keys={"master-key": "lk1:00"})
    assert Manifest.from_bytes(named.to_bytes()) == named
    assert named.signed_bytes() != manifest.signed_bytes()
