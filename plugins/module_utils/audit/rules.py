# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rule for each way in which backups are set up unwisely, each with its reason. Pure: what was seen comes in as facts.

A rule is silent where it does not apply, says `good` where it looked and all is well, and `unknown` where it could not look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.objective import Facts, Objective, problems
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import DENIED, DONE, UNKNOWN, Harm, Rules
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import GPG_SYMMETRIC, NONE
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["PURPOSES", "RULES", "Finding", "Seen", "SeenRepository", "judge"]

PURPOSES = ("write", "read")
GOOD, WEAK, NOT_KNOWN = "good", "weak", "unknown"

_SHORT_HISTORY_SECONDS = 7 * 86400.0


@dataclass(frozen=True)
class Finding:
    """What a rule says of a place: `verdict` is good, weak or unknown; `advice` is what to do about it, "" when there is nothing to."""

    rule: str
    where: str
    verdict: str
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class SeenRepository:
    """A repository as it was found. `problem`: why it could not be looked at; `harms` is None when nothing was tried.

    `local`: it lies on this machine; `on_data_disk`: on the disk of the database itself; None where that is not known.
    """

    name: str
    problem: str = ""
    harms: tuple[Harm, ...] | None = None
    can_write: bool | None = None
    rules: Rules | None = None
    local: bool = False
    on_data_disk: bool | None = None
    type: str = ""


@dataclass(frozen=True)
class Seen:
    """Everything that the rules judge. `shared` are sentences on key repositories that are not apart from data repositories."""

    purpose: str
    repositories: Sequence[SeenRepository]
    method: str = ""
    recipients: int | None = None
    key_repositories: Sequence[str] = ()
    shared: Sequence[str] = ()
    objective: Objective | None = None
    facts: Facts = field(default_factory=Facts)


def judge(seen: Seen) -> list[Finding]:
    """What every rule says, in the order of `RULES`."""
    return [finding for rule in RULES for finding in rule(seen)]


def _reachable(seen: Seen) -> Iterator[Finding]:
    for place in seen.repositories:
        if place.problem:
            yield Finding("reachable", place.name, NOT_KNOWN, place.problem, "Nothing else is known about it: mend that first.")


def _destroy(seen: Seen) -> Iterator[Finding]:
    """Law 5: who writes backups cannot destroy the old ones."""
    for place in seen.repositories if seen.purpose == "write" else ():
        if place.problem or place.harms is None:
            if not place.problem:
                yield Finding("destroy", place.name, NOT_KNOWN, "what this credential can destroy was not tried")
            continue
        for harm in place.harms:
            if harm.action == "write":
                yield Finding("destroy", place.name, WEAK, f"it cannot write: {harm.detail}", "No backup gets there with this credential.")
            elif harm.outcome == DONE:
                yield Finding("destroy", place.name, WEAK, f"{harm.action}: done. {harm.detail}", _ADVICE.get(harm.action, _OTHERWISE))
            elif harm.outcome == UNKNOWN:
                yield Finding("destroy", place.name, NOT_KNOWN, f"{harm.action}: {harm.detail}")
            else:
                yield Finding("destroy", place.name, GOOD, f"{harm.action}: {'denied' if harm.outcome == DENIED else harm.outcome}")


_ADVICE = {
    "replace": "Switch versions on, or lock what is written; a directory: keep a copy that this host cannot write.",
    "delete": "Take s3:DeleteObject from it, and switch versions on; a directory: keep a copy that this host cannot write.",
    "delete the version itself": "Take s3:DeleteObjectVersion from it: pruning has a credential of its own.",
    "delete the version in spite of its lock": "Take s3:BypassGovernanceRetention from it, or lock in mode compliance.",
    "configure versions": "Take s3:PutBucketVersioning from it.",
}
_OTHERWISE = "Take that right from this credential."


def _reads_only(seen: Seen) -> Iterator[Finding]:
    """Law 3: what drills cannot write where backups rest."""
    for place in seen.repositories if seen.purpose == "read" else ():
        if place.problem or place.can_write is None:
            continue
        if place.local:
            yield Finding("reads-only", place.name, GOOD, "a directory of this machine, opened for reading")
        elif place.can_write:
            yield Finding(
                "reads-only", place.name, WEAK, "this credential can write", "A drill needs one that lists and reads, and nothing else."
            )
        else:
            yield Finding("reads-only", place.name, GOOD, "this credential cannot write")


def _versions(seen: Seen) -> Iterator[Finding]:
    for place in seen.repositories:
        if place.rules is None:
            continue
        if place.rules.versions is None:
            yield Finding("versions", place.name, NOT_KNOWN, "this credential may not see whether the bucket keeps versions")
        elif not place.rules.versions:
            advice = "Enable versioning (amazon.aws.s3_bucket: versioning: true), and object lock where the store has it."
            yield Finding("versions", place.name, WEAK, "the bucket keeps no versions: what is replaced or deleted is gone", advice)
        else:
            locked = f", and locks what is written for {duration(place.rules.locks)}" if place.rules.locks else ""
            yield Finding("versions", place.name, GOOD, f"the bucket keeps versions{locked}")
        old = place.rules.removes_old_versions
        if place.rules.versions and old is not None and old < _SHORT_HISTORY_SECONDS:
            detail = f"what was replaced or deleted is destroyed after {duration(old)}: whoever breaks in on a Friday has won by then"
            yield Finding("versions", place.name, WEAK, detail, "Let the lifecycle keep old versions for a week at least.")


def _sealed(seen: Seen) -> Iterator[Finding]:
    if seen.method == NONE:
        yield Finding("sealed", "encryption", WEAK, "backups are not sealed: who reads the store reads the database", "Take age.")
    elif seen.method == GPG_SYMMETRIC:
        detail = "the passphrase that opens every backup lies on the host that writes them (law 5 does not hold)"
        yield Finding("sealed", "encryption", WEAK, detail, "Take age or gpg with recipients, whose identities are kept elsewhere.")
    elif seen.method:
        yield Finding("sealed", "encryption", GOOD, f"sealed with {seen.method} for {many(seen.recipients or 0, 'recipient')}")
        if seen.recipients == 1:
            detail = "there is one recipient: with its identity every backup is lost"
            yield Finding(
                "two-recipients", "encryption", WEAK, detail, "Add a second one, whose identity lies offline, on paper in a safe."
            )


def _places(seen: Seen) -> Iterator[Finding]:
    for place in seen.repositories:
        if place.on_data_disk:
            detail = "it lies on the disk of the database: one broken disk takes both"
            yield Finding("same-disk", place.name, WEAK, detail, "It is good for a quick restore; count on another one.")
    if seen.repositories and all(place.local for place in seen.repositories):
        detail = "every repository lies on this machine: a fire, a thief or a mistyped rm takes all"
        yield Finding("off-host", "repositories", WEAK, detail, "Add one elsewhere.")
    elif any(not place.local for place in seen.repositories):
        yield Finding("off-host", "repositories", GOOD, "one at least lies elsewhere")


def _keys_apart(seen: Seen) -> Iterator[Finding]:
    for sentence in seen.shared:
        yield Finding("keys-apart", "key_repositories", WEAK, sentence, "Who takes the data takes the keys: keep them in another account.")
    if seen.key_repositories and not seen.shared:
        yield Finding("keys-apart", "key_repositories", GOOD, "keys lie apart from data")


def _promises(seen: Seen) -> Iterator[Finding]:
    if seen.objective is None:
        return
    found = problems(seen.objective, seen.facts)
    for sentence in found:
        yield Finding("objective", "objective", WEAK, sentence, "Promise less, or set up what is missing.")
    if not found:
        yield Finding("objective", "objective", GOOD, "nothing that is known speaks against what was promised")


RULES: tuple[Callable[[Seen], Iterator[Finding]], ...] = (
    _reachable, _destroy, _reads_only, _versions, _sealed, _places, _keys_apart, _promises,
)  # fmt: skip
