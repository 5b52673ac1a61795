# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that look like archiving and lose WAL: each is refused with the reason. Pure.

The contract (https://www.postgresql.org/docs/current/continuous-archiving.html): exit status 0 if, and only if, the segment
is durably archived. The same content is there already: 0. Another content is there: not 0, and it stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.shell import Simple, parse

__all__ = ["TOOLS", "unproven", "why_naive"]

_OVERWRITES = "it overwrites a file of the same name, also one of another content"
_STUB = "a crash or a full disk midway leaves a stub under the final name, and nothing waits for the disk"
_NOTHING = "it says that every segment is archived and archives none"
_COPY = f"{_OVERWRITES}, and {_STUB}"

_NO_OPERATION = frozenset(("true", ":", "echo", "printf", "cd", "pwd", "sleep", "date", "logger", "rem"))
"""Programs that end with 0 whatever became of the segment."""

_COMPRESSORS = frozenset(
    ("gzip", "pigz", "bzip2", "xz", "lz4", "lzop", "zstd", "pbzip2", "7z", "7za", "tar", "zip", "age", "gpg", "openssl")
)
_REASONS = {
    "cp": _COPY,
    "copy": _COPY,
    "xcopy": _COPY,
    "install": _COPY,
    "dd": _COPY,
    "tee": _COPY,
    "scp": _COPY,
    "sftp": _COPY,
    "ftp": _COPY,
    "lftp": _COPY,
    "ncftpput": _COPY,
    "mv": "it takes the segment away from the server, which still needs it for a crash recovery",
    "rm": "it removes the segment",
    "rsync": f"{_OVERWRITES} (with --ignore-existing it says 0 though another content is there), and nothing waits for the disk",
    "curl": _OVERWRITES,
    "wget": _OVERWRITES,
    "s3cmd": _OVERWRITES,
    "s4cmd": _OVERWRITES,
    "s5cmd": _OVERWRITES,
    "gsutil": _OVERWRITES,
    "mc": _OVERWRITES,
    "mcli": _OVERWRITES,
    "b2": _OVERWRITES,
    "azcopy": _OVERWRITES,
    "swift": _OVERWRITES,
    "az": _OVERWRITES,
    "aws": _OVERWRITES,
    "gcloud": _OVERWRITES,
    "oci": _OVERWRITES,
}

TOOLS = frozenset(
    (
        "pgbackrest", "wal-g", "wal-e", "barman-wal-archive", "barman-cloud-wal-archive", "pghoard_postgres_command", "pg_probackup",
        "lifeboat", "lifeboat-wal-push",
    )
)  # fmt: skip
"""Programs that were made for this. Any other one is taken at its word, which is said."""

_SECRET = re.compile(r"(?:^|[\s;&|(])(\w*(?:SECRET|PASSWORD|PASSPHRASE|TOKEN|ACCESS_KEY)\w*)=(?=[^\s$])", re.IGNORECASE)


def why_naive(command: str) -> str:
    """Why this archive_command must not be used, as half a sentence; "" when nothing speaks against it."""
    text = command.strip()
    if not text:
        return "it is empty: the server keeps every segment until the disk is full"
    secret = _SECRET.search(text)
    if secret and not secret.group(1).upper().endswith("_FILE"):
        return f"it holds a secret ({secret.group(1)}), which every role of the database and `ps` can read"
    try:
        simples = parse(text)
    except ValueError as error:
        return f"it is no command that a shell can read: {error}"
    if not simples:
        return _NOTHING
    return _judge(simples, text)


def unproven(command: str) -> bool:
    """Whether no program in it is known to be made for archiving, so that only a verification tells."""
    try:
        return not any(simple.program in TOOLS for simple in _flat(parse(command)))
    except ValueError:
        return True


def _judge(simples: Sequence[Simple], text: str) -> str:
    everything = _flat(simples)
    if all(_does_nothing(simple) for simple in everything):
        return _NOTHING
    masked = _masked(simples, "pipefail" in text)
    if masked:
        return masked
    early = _early(simples)
    if early:
        return early
    for simple in everything:
        # What does not name the segment does something else: it pings, it writes a log.
        reason = _program_reason(simple, everything) if _names_segment(simple) else ""
        if reason:
            return f"{simple.program}: {reason}" if simple.words else reason
    if "%p" not in text and not ("%f" in text and any(simple.program in TOOLS for simple in everything)):
        return "it never reads the segment (there is no %p in it)"
    return ""


def _flat(simples: Sequence[Simple]) -> list[Simple]:
    flat: list[Simple] = []
    for simple in simples:
        flat += _flat(simple.inner) if simple.inner else [simple]
    return flat


def _does_nothing(simple: Simple) -> bool:
    if simple.program == "exit":
        return simple.arguments[:1] in ([], ["0"])
    return not simple.words or simple.program in _NO_OPERATION or simple.program in ("test", "[", "set", "mkdir", "touch")


def _masked(simples: Sequence[Simple], pipefail: bool) -> str:
    """Whether a failure is turned into 0: by `|| true`, `; exit 0`, a pipe, or the background."""
    for index, simple in enumerate(simples):
        within = _masked(simple.inner, pipefail)
        if within:
            return within
        following = simples[index + 1] if index + 1 < len(simples) else None
        if simple.after == "&":
            return "it runs in the background: 0 comes before the segment is archived"
        if following is None or _does_nothing(simple):
            continue
        rest = simples[index + 1 :]
        if simple.after == "||" and all(_ends_well(other) for other in rest):
            return f"a failure is turned into success by `|| {' '.join(following.words)}`"
        if simple.after == "|" and not pipefail and "%p" in " ".join(simple.words) and not _reads_all(following):
            return f"in a pipe only the status of the last program ({following.program}) counts: a failure of {simple.program} is lost"
        at_end = simple.after in (";", "\n") and simple.keyword not in ("if", "elif")
        if at_end and _reads_segment(simple) and all(_ends_well(other) for other in rest):
            return f"a failure is turned into success by `; {' '.join(following.words)}`"
    return ""


def _early(simples: Sequence[Simple]) -> str:
    """Whether there is a way to 0 that passes by the archiving."""
    compared = False
    for index, simple in enumerate(simples):
        within = _early(simple.inner)
        if within:
            return within
        compared = compared or simple.program in ("cmp", "diff", "sha256sum", "sha1sum", "md5sum", "shasum")
        later = any(_reads_segment(other) for other in simples[index + 1 :])
        if simple.program == "exit" and _ends_well(simple) and later and not compared:
            return "on one of its ways it ends with 0 before the segment is archived"
        if simple.keyword == "!" and _reads_segment(simple) and not _tests(simple):
            return "the `!` turns a failure into success"
        if simple.keyword == "then" and _reads_segment(simple) and not any(other.keyword in ("else", "elif") for other in simples):
            return "when the condition of its `if` does not hold it ends with 0, and has archived nothing"
    return ""


def _tests(simple: Simple) -> bool:
    return simple.program in ("test", "[", "cmp", "diff")


def _ends_well(simple: Simple) -> bool:
    return simple.program in _NO_OPERATION or (simple.program == "exit" and simple.arguments[:1] in ([], ["0"]))


def _reads_segment(simple: Simple) -> bool:
    return any("%p" in word for word in simple.words)


def _names_segment(simple: Simple) -> bool:
    return any("%p" in word or "%f" in word for word in (*simple.words, *simple.written, *simple.appended))


def _reads_all(simple: Simple) -> bool:
    """A comparison notices when what comes through the pipe is cut."""
    return simple.program in ("cmp", "diff")


def _is_protected(everything: Sequence[Simple]) -> bool:
    """A copy under a temporary name, brought to the disk, given its name without clobbering, and compared when it is there."""
    programs = {simple.program for simple in everything}
    synced = bool(programs & {"sync", "fsync"}) or any("conv=fsync" in word for s in everything for word in s.words)
    published = any(_publishes(simple) for simple in everything)
    return synced and published and bool(programs & {"cmp", "diff"})


def _publishes(simple: Simple) -> bool:
    """Gives the final name only when nothing bears it: `ln` without -f, and not of the segment itself."""
    if simple.program not in ("ln", "link"):
        return False
    flags = [word for word in simple.arguments if word.startswith("-")]
    return not any("f" in flag or "s" in flag for flag in flags) and not _reads_segment(simple)


def _program_reason(simple: Simple, everything: Sequence[Simple]) -> str:
    protected = _is_protected(everything)
    program, arguments = simple.program, simple.arguments
    redirected = [target for target in simple.written if "%f" in target or "%p" in target]
    if redirected or (simple.written and program in ("cat", *_COMPRESSORS) and simple.written[0] != "/dev/null"):
        return _COPY
    if any("%f" in target for target in simple.appended):
        return "it appends to what is there, so that a second try doubles the segment"
    if program in ("ln", "link"):
        if _reads_segment(simple):
            return "the link shares the server's own file, which is overwritten when the server recycles it"
        return "" if protected or "%f" not in " ".join(simple.words) else _COPY
    if program == "rclone":
        return _rclone_reason(arguments, any(other.program in ("cmp", "diff") for other in everything))
    if program in ("mv", "cp", "dd", "rm") and protected and not _clobbers(simple):
        return ""
    skips = [word for word in arguments if word in ("-n", "--no-clobber", "--update=none")]
    if program == "cp" and skips:
        return f"with {skips[0]} it says 0 though another content is there, and {_STUB}"
    if program in _COMPRESSORS:
        return _compressor_reason(simple)
    if program in ("aws", "az", "gcloud", "oci") and not {"cp", "mv", "sync", "put-object", "upload", "put"} & set(arguments):
        return ""
    if program in ("ssh", "docker", "podman", "kubectl", "su"):
        return _remote_reason(simple)
    if program == "barman-cloud-wal-archive" or program in TOOLS:
        return ""
    return _REASONS.get(program, "")


def _clobbers(simple: Simple) -> bool:
    """Whether a copy or a move of a protected command names the final file, or takes the segment away."""
    if simple.program in ("mv", "rm") and _reads_segment(simple):
        return True
    target = next((word for word in reversed(simple.operands())), "")
    if simple.program == "dd":
        target = next((word[3:] for word in simple.arguments if word.startswith("of=")), "")
    return simple.program != "rm" and bool(re.search(r"(^|/)%f$", target))


def _compressor_reason(simple: Simple) -> str:
    if not _reads_segment(simple) and "%f" not in " ".join(simple.words):
        return ""
    to_output = any(
        word in ("-c", "--stdout", "--to-stdout", "-") or re.fullmatch(r"-[a-z0-9]*c[a-z0-9]*", word) for word in simple.arguments
    )
    if simple.program in ("gzip", "pigz", "bzip2", "xz", "pbzip2") and not to_output:
        return "it replaces the server's own segment by a compressed one"
    return "" if to_output and simple.after == "|" else _COPY


def _remote_reason(simple: Simple) -> str:
    """What is run elsewhere is judged like a command of its own when it is written out as one word."""
    for word in simple.arguments:
        if re.search(r"[\s>|;&]", word):
            try:
                inner = _flat(parse(word))
            except ValueError:
                continue
            for other in inner:
                reason = _program_reason(other, inner)
                if reason:
                    return reason
    return ""


def _rclone_reason(arguments: Sequence[str], compared: bool) -> str:
    verbs = [word for word in arguments if not word.startswith("-")]
    verb = next(
        (word for word in verbs if word in ("copy", "copyto", "move", "moveto", "sync", "rcat", "cat", "lsf", "check", "hashsum")), ""
    )
    if verb in ("move", "moveto"):
        return "it takes the segment away from the server, which still needs it for a crash recovery"
    if verb in ("sync", "rcat"):
        return _OVERWRITES
    if verb in ("copy", "copyto") and "--ignore-existing" not in arguments:
        # Measured with 1.75: for a single file --immutable is passed over, exit status 0.
        return f"{_OVERWRITES}; --immutable does not hold for a single file"
    if verb in ("copy", "copyto") and not compared:
        return "with --ignore-existing it says 0 though another content is there; compare it afterwards"
    return ""
