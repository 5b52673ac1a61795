# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An identity on paper, and old keys for new people: what `lifeboat keys` does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import cli
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys import paper
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.needed import keeping_keys
from support.keys import age_pair, ssh_pair
from support.logical import new_identity
from support.vaults import Escrow, written

pytestmark = pytest.mark.needs("program:age", "program:age-keygen", "program:zstd")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.mkdir(mode=0o700)
    return path


@pytest.mark.needs("library:segno")
def test_a_page_needs_nothing_else_and_is_for_its_owner_only(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair, page = age_pair(own / "safe.identity"), own / "page.html"
    assert cli.main(["keys", "print", pair.path, "-o", str(page)]) == 0
    text = page.read_text()
    secret = next(line for line in Path(pair.path).read_text().splitlines() if line.startswith("AGE-SECRET-KEY-"))
    typed = re.sub(r"\s", "", text[text.index("<pre>") + 5 : text.index("</pre>")])
    back = written(own / "typed.identity", typed.encode() + b"\n")
    assert typed == secret
    assert subprocess.run(["age-keygen", "-y", back], capture_output=True, text=True, check=True).stdout.strip() == pair.public
    assert pair.public in text
    assert "<svg" in text
    assert page.stat().st_mode & 0o777 == 0o600
    assert not re.search(r"https?://(?!www\.w3\.org)|src=|<script|<link", text)
    said = capsys.readouterr()
    assert "shred -u" in said.err
    assert secret not in said.out + said.err


@pytest.mark.needs("library:segno")
def test_the_code_holds_the_identity_and_nothing_else(own: Path) -> None:
    """Another identity gives another code; the same one always the same."""
    first, second = (age_pair(own / name) for name in ("one", "two"))
    codes = [re.findall(r"<svg.*?</svg>", paper.page_of(pair.path)[0], re.DOTALL) for pair in (first, second, first)]
    assert codes[0] == codes[2] != codes[1]


def test_without_the_library_the_page_says_that_it_has_the_text_alone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "LIBRARY", "segno_that_nobody_has")
    page, notes = paper.page_of(ssh_pair(own / "identity").path)
    assert "No QR code" in page
    assert "BEGIN OPENSSH PRIVATE KEY" in page
    assert any("the page has no QR code" in note for note in notes)


def test_a_page_is_never_written_over_a_file_or_where_others_write(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = age_pair(own / "safe.identity")
    there = written(own / "there.html", b"something else")
    assert cli.main(["keys", "print", pair.path, "-o", str(there)]) == 2
    assert there.read_bytes() == b"something else"
    (own / "link.html").symlink_to(own / "elsewhere")
    assert cli.main(["keys", "print", pair.path, "-o", str(own / "link.html")]) == 2
    (own / "shared").mkdir()
    (own / "shared").chmod(0o777)
    assert cli.main(["keys", "print", pair.path, "-o", str(own / "shared" / "page.html")]) == 2
    assert "others can write into the directory of the page" in capsys.readouterr().err
    assert not (own / "elsewhere").exists()
    Path(pair.path).chmod(0o644)
    assert cli.main(["keys", "print", pair.path, "-o", str(own / "page.html")]) == 6
    assert cli.main(["keys", "print", str(written(own / "none", b"age1public")), "-o", str(own / "page.html")]) == 6
    assert not (own / "page.html").exists()


def test_old_and_new_keys_are_sealed_for_other_people_and_stay_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    escrow = Escrow(tmp_path)
    old = escrow.master.read_bytes()
    first = escrow.run()["fingerprints"]["master-key"]
    new = written(escrow.master, os.urandom(32)).read_bytes()
    second = escrow.run()["fingerprints"]["master-key"]
    third = new_identity(tmp_path / "third.identity")
    encryption = {"recipients": [escrow.data.recipient], "key_recipients": [third.recipient]}
    job = tmp_path / "keys.json"
    job.write_text(json.dumps({"system": "shop", "key_repositories": {"vault": escrow.vault}, "encryption": encryption}))
    before = escrow.objects()
    assert cli.main(["keys", "reseal", str(escrow.safe.file), "--check", "-c", str(job)]) == 0
    assert (escrow.objects(), capsys.readouterr().out.count("would be sealed anew")) == (before, 2)
    assert cli.main(["keys", "reseal", str(escrow.data.file), "-c", str(job)]) == 6, "the identity of the data opens no key"
    assert cli.main(["keys", "reseal", str(escrow.safe.file), "-c", str(job)]) == 0
    held = [(manifest.keys["master-key"], manifest.recipients) for manifest in escrow.manifests()]
    assert [found for found in held if found[1] == (third.recipient,)] == [(first, (third.recipient,)), (second, (third.recipient,))]
    mine = [manifest for manifest in escrow.manifests() if manifest.recipients == (third.recipient,)]
    assert [escrow.opened(manifest, third.file)[""] for manifest in mine] == [old, new]
    assert escrow.manifests()[-1].keys["master-key"] == second, "the newest is still the one in use"
    capsys.readouterr()
    assert cli.main(["keys", "reseal", str(escrow.safe.file), "-c", str(job)]) == 0
    assert capsys.readouterr().out == "", "a second time there is nothing to do"
    assert not escrow.run(encryption=encryption)["changed"], "and the host has nothing to ship"
    assert {ref.backup_id for ref in keeping_keys([], escrow.manifests())} == {escrow.manifests()[-1].backup_id}
