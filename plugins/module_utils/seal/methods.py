# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the sealing methods, as options and manifests say them. Data only: none of the methods is loaded for it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["AGE", "GPG", "GPG_SYMMETRIC", "METHODS", "NONE", "SHORTCOMINGS"]

AGE, GPG, GPG_SYMMETRIC, NONE = "age", "gpg", "gpg-symmetric", "none"
METHODS = (AGE, GPG, GPG_SYMMETRIC, NONE)
"""The first is the one that is meant where none is named."""

SHORTCOMINGS: Mapping[str, str] = {
    GPG_SYMMETRIC: (
        "sealed with a passphrase, which lies on the host that writes the backups: whoever takes that host over can open the old ones as"
        " well (law 5 does not hold); seal for recipients to keep that apart"
    ),
    NONE: "NOT SEALED: whoever can read a repository, or one of its disks, can read all the data (law 5 does not hold)",
}
"""What every report of a backup that was sealed so has to say."""
