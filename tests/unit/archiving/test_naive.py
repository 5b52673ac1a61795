# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands as they stand in guides, blogs and questions: what loses WAL is refused with the reason, the rest is let through."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.naive import unproven, why_naive

LOSES = [
    ("", "empty"),
    ("   ", "empty"),
    ("true", "archives none"),
    ("/bin/true", "archives none"),
    ("/usr/bin/true", "archives none"),
    (":", "archives none"),
    ("exit 0", "archives none"),
    ("cd .", "archives none"),
    ("echo archiving %p", "archives none"),
    ("(exit 0)", "archives none"),
    ("sh -c 'exit 0'", "archives none"),
    ("test -f /tmp/on; exit 0", "archives none"),
    ("/opt/archive.sh", "no %p"),
    ("rsyslog-archive %f", "no %p"),
    # the manual's own, and its variants
    ("cp %p /mnt/server/archivedir/%f", "overwrites"),
    ('cp "%p" "/mnt/server/archivedir/%f"', "overwrites"),
    ("/bin/cp -f %p /mnt/server/archivedir/%f", "overwrites"),
    ("test ! -f /mnt/server/archivedir/%f && cp %p /mnt/server/archivedir/%f", "stub"),
    ("[ ! -f /archive/%f ] && cp %p /archive/%f", "stub"),
    ("if [ ! -f /archive/%f ]; then cp %p /archive/%f; fi", "condition of its `if`"),
    ("if test -e /a/%f; then exit 1; else cp %p /a/%f; fi", "stub"),
    ("cp -n %p /archive/%f", "another content is there"),
    ("cp --no-clobber %p /archive/%f", "another content is there"),
    ("cp -i %p /mnt/server/archivedir/%f </dev/null", "overwrites"),
    ("cp %p /a/%f && cp %p /b/%f", "overwrites"),
    ("cp %p /archive/%f.tmp && mv /archive/%f.tmp /archive/%f", "stub"),
    ("cp %p /archive/%f && sync", "overwrites"),
    ('copy "%p" "C:\\\\server\\\\archivedir\\\\%f"', "overwrites"),
    ("install -m 600 %p /archive/%f", "overwrites"),
    ("dd if=%p of=/archive/%f bs=1M", "overwrites"),
    ("cat %p > /archive/%f", "overwrites"),
    ("cat %p >> /archive/%f", "appends"),
    ("mv %p /archive/%f", "takes the segment away"),
    ("ln %p /archive/%f", "recycles"),
    ("ln -s %p /archive/%f", "recycles"),
    ("tee /archive/%f < %p", "overwrites"),
    # compressed
    ("gzip < %p > /archive/%f.gz", "overwrites"),
    ("gzip -c %p > /archive/%f.gz", "overwrites"),
    ("gzip %p", "replaces"),
    ("pigz -p 4 -c %p > /archive/%f.gz", "overwrites"),
    ("test ! -f /a/%f.gz && gzip -c %p > /a/%f.gz", "overwrites"),
    ("lz4 -q %p /archive/%f.lz4", "overwrites"),
    ("zstd -q -3 %p -o /archive/%f.zst", "overwrites"),
    ("bash -c 'set -o pipefail; zstd -c %p | age -r age1x > /archive/%f.zst.age'", "overwrites"),
    ("openssl enc -aes-256-cbc -pass file:/k -in %p -out /archive/%f.enc", "overwrites"),
    ("gpg --batch -r ops -o /archive/%f.gpg -e %p", "overwrites"),
    ("tar czf /archive/%f.tgz %p", "overwrites"),
    # to another host
    ("scp %p backup@10.0.0.2:/archive/%f", "overwrites"),
    ("scp -o BatchMode=yes %p backup:/archive/%f", "overwrites"),
    ("rsync -a %p postgres@standby:/archive/%f", "overwrites"),
    ("rsync --ignore-existing -a %p barman@backup:/var/lib/barman/main/incoming/%f", "another content"),
    ("ssh backup 'cat > /archive/%f' < %p", "overwrites"),
    ("ssh backup test ! -f /a/%f && scp %p backup:/a/%f", "overwrites"),
    ("cat %p | ssh backup 'cat > /archive/%f'", "pipe"),
    ("curl -fsS -T %p https://files.example.net/wal/%f", "overwrites"),
    # to a bucket
    ("aws s3 cp %p s3://shop-wal/%f", "overwrites"),
    ("aws s3 cp %p s3://shop-wal/%f --sse AES256 >> /var/log/wal.log 2>&1", "overwrites"),
    ("AWS_PROFILE=wal aws s3 cp --only-show-errors %p s3://shop-wal/%f", "overwrites"),
    ("gsutil cp %p gs://shop-wal/%f", "overwrites"),
    ("gcloud storage cp %p gs://shop-wal/%f", "overwrites"),
    ("az storage blob upload -f %p -c wal -n %f", "overwrites"),
    ("s3cmd put %p s3://shop-wal/%f", "overwrites"),
    ("mc cp %p minio/wal/%f", "overwrites"),
    ("b2 file upload wal %p %f", "overwrites"),
    ("zstd -c %p | aws s3 cp - s3://shop-wal/%f.zst", "pipe"),
    ("bash -c 'set -o pipefail; zstd -c %p | aws s3 cp - s3://shop-wal/%f.zst'", "overwrites"),
    ("rclone copyto %p offsite:wal/%f", "overwrites"),
    ("rclone copyto --immutable --checksum %p offsite:wal/%f", "does not hold for a single file"),
    ("rclone copyto --ignore-existing %p offsite:wal/%f", "another content is there"),
    ("rclone moveto %p offsite:wal/%f", "takes the segment away"),
    ("rclone copy %p offsite:wal/", "overwrites"),
    ("cat %p | rclone rcat offsite:wal/%f", "pipe"),
    # a good tool whose failure is hidden
    ("pgbackrest --stanza=shop archive-push %p || true", "turned into success"),
    ("pgbackrest --stanza=shop archive-push %p || /bin/true", "turned into success"),
    ("pgbackrest --stanza=shop archive-push %p; exit 0", "turned into success"),
    ("pgbackrest --stanza=shop archive-push %p; true", "turned into success"),
    ("wal-g wal-push %p; echo done", "turned into success"),
    ("wal-g wal-push %p || exit 0", "turned into success"),
    ("wal-g wal-push %p || echo failed", "turned into success"),
    ("wal-g wal-push %p || logger 'archiving failed'", "turned into success"),
    ("wal-g wal-push %p &", "background"),
    ("wal-g wal-push %p | logger -t walg", "pipe"),
    ("sh -c 'wal-g wal-push %p || true'", "turned into success"),
    ("nohup wal-g wal-push %p > /dev/null 2>&1 &", "background"),
    ("wal-g wal-push %p || cp %p /var/lib/emergency/%f", "overwrites"),
    ("test -e /etc/no-archive && exit 0; wal-g wal-push %p", "ends with 0 before"),
    ("[ -e /etc/no-archive ] && exit 0 || pgbackrest --stanza=shop archive-push %p", "ends with 0 before"),
    ("if [ ! -f /a/%f ]; then wal-g wal-push %p; fi", "condition of its `if`"),
    ("! wal-g wal-push %p", "turns a failure into success"),
    # secrets, and nonsense
    ("AWS_SECRET_ACCESS_KEY=abc wal-g wal-push %p", "secret"),
    ("env PGPASSWORD=geheim wal-g wal-push %p", "secret"),
    ("cp '%p /archive/%f", "shell can read"),
]

KEEPS = [
    "pgbackrest --stanza=shop archive-push %p",
    'pgbackrest --stanza=shop archive-push "%p"',
    "/usr/bin/pgbackrest --config=/etc/pgbackrest/shop.conf --stanza=shop archive-push %p",
    "nice -n 19 ionice -c 3 pgbackrest --stanza=shop archive-push %p",
    "timeout 300 pgbackrest --stanza=shop archive-push %p",
    "envdir /etc/wal-g.d/env wal-g wal-push %p",
    "envdir /etc/wal-g.d/env wal-g wal-push %p >> /var/log/wal-g.log 2>&1",
    "wal-g --config /etc/wal-g.yaml wal-push %p",
    ". /etc/wal-g.env && wal-g wal-push %p",
    "WALG_PREVENT_WAL_OVERWRITE=true wal-g wal-push %p",
    "AWS_SHARED_CREDENTIALS_FILE=/etc/wal.cred wal-g wal-push %p",
    "wal-g wal-push %p || exit 1",
    "wal-g wal-push %p || (logger failed; exit 1)",
    "sleep 1; wal-g wal-push %p",
    "wal-g wal-push %p && curl -fsS https://hc.example.net/ping/1",
    "bash -c 'set -o pipefail; wal-g wal-push %p 2>&1 | tee -a /var/log/wal.log'",
    "wal-g wal-push %p; s=$?; rm -f /run/archiving; exit $s",
    "if [ -r /etc/wal-g.env ]; then . /etc/wal-g.env; fi; wal-g wal-push %p",
    "! test -e /etc/no-archive && wal-g wal-push %p",
    "pgbackrest --stanza=shop archive-push %p && touch /run/last-archived",
    "barman-wal-archive backup main %p",
    "barman-cloud-wal-archive --gzip s3://shop-wal main %p",
    "/opt/lifeboat/bin/lifeboat-wal-push %p",
    "lifeboat wal push -c /etc/lifeboat/wal.json %p",
    "pg_probackup archive-push -B /backup --instance main --wal-file-name=%f",
    "rclone copyto --ignore-existing %p offsite:wal/%f && rclone cat offsite:wal/%f | cmp -s - %p",
    "/usr/local/bin/archive-wal %p %f",
    "bash -c 'set -o pipefail; /usr/local/bin/archive-wal %p %f'",
    "if [ -e /a/%f ]; then cmp -s %p /a/%f; else cp %p /a/.%f.tmp && sync /a/.%f.tmp && ln /a/.%f.tmp /a/%f && sync /a; fi",
]


@pytest.mark.parametrize(("command", "reason"), LOSES, ids=[command or "(empty)" for command, _reason in LOSES])
def test_a_command_that_loses_wal_is_refused_with_the_reason(command: str, reason: str) -> None:
    assert reason in why_naive(command)


@pytest.mark.parametrize("command", KEEPS)
def test_a_command_that_keeps_wal_is_let_through(command: str) -> None:
    assert why_naive(command) == ""


def test_a_copy_that_is_protected_but_for_one_step_is_refused() -> None:
    good = KEEPS[-1]
    for step in ("sync /a/.%f.tmp && ", "ln /a/.%f.tmp /a/%f && ", "cmp -s %p /a/%f"):
        broken = good.replace(step, "true" if step.startswith("cmp") else "")
        broken = broken.replace("sync /a;", "true;") if step.startswith("sync") else broken
        assert why_naive(broken), broken
    assert why_naive(good.replace("ln /a", "ln -f /a"))
    assert why_naive(good.replace("cp %p /a/.%f.tmp", "cp %p /a/%f"))


def test_a_command_of_unknown_make_is_called_unproven() -> None:
    assert unproven("/usr/local/bin/archive-wal %p %f")
    assert not unproven("nice -n 19 pgbackrest --stanza=shop archive-push %p")
