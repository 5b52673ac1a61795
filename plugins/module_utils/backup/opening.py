# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How `RESTORE.md` and `restore.sh` open an artifact, for each sealing method: the words that fill their templates."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["words_for"]


def words_for(method: str) -> Mapping[str, str]:
    """The words for a sealing method; raises `KeyError` for one that has none, which is a mistake of ours."""
    return _WORDS[method]


_KEY_CASE = """
        {option}) [ $# -ge 2 ] || fail "$usage"; {variable}=$2; shift 2 ;;"""
_KEY_CHECK = """[ -n "${variable}" ] || fail "$usage"
[ -r "${variable}" ] || fail "the {what} ${variable} cannot be read"
"""

# A home of its own, so that no key gets into anybody's keyring; gpg leaves an agent behind, which has to be ended.
_GPG_HOME = """
home=$(mktemp -d)
trap 'gpgconf --homedir "$home" --kill gpg-agent || true; rm -rf -- "$home"' EXIT
trap 'exit 1' HUP INT TERM
"""
# gpg ends well after a few bytes of nothing; what it has opened is told by its status lines alone.
_GPG_OPENED = """
    grep -q '^\\[GNUPG:\\] DECRYPTION_OKAY' -- "$home/status" || fail "gpg opened nothing in $1\""""


def _with_key(tool: str, option: str, variable: str, what: str, file: str, rest: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "TOOL": f"{tool} ",
        "TOOL_CODE": f"`{tool}`, ",
        "KEY_USAGE": f" {option} FILE",
        "KEY_PATH": f" {option} /path/to/{file}",
        "KEY_DEFAULT": f"{variable}='' ",
        "KEY_CASE": _KEY_CASE.format(option=option, variable=variable),
        "KEY_CHECK": _KEY_CHECK.format(variable=variable, what=what),
        **rest,
    }


_WORDS: dict[str, Mapping[str, str]] = {
    "age": _with_key(
        "age", "--identity", "identity", "identity file", "identity.txt",
        {
            "SECRET": "the **identity file** (the private key; it is not kept beside the backups), ",
            "BY_HAND": "| age -d -i identity.txt ",
            "PREPARE": "",
            "OPEN_WHY": "age takes nothing that ends early, so the exit status of cat is not missed",
            "OPEN": """cat -- "$@" | age --decrypt --identity "$identity" --output "$into/opened.tmp" ||
        fail "the identity does not open $1\"""",
        },
    ),
    "gpg": _with_key(
        "gpg", "--identity", "identity", "identity file", "secret-key.asc",
        {
            "SECRET": "the **identity file** (the exported secret key; it is not kept beside the backups), ",
            "BY_HAND": "| gpg --decrypt ",
            "PREPARE": _GPG_HOME + """gpg --homedir "$home" --batch --quiet --import "$identity" || fail "$identity is not a secret key"
""",
            "OPEN_WHY": "gpg ends with an error when the end is missing, so the exit status of cat is not missed",
            "OPEN": """cat -- "$@" | gpg --homedir "$home" --quiet --yes \\
        --status-fd 3 --output "$into/opened.tmp" --decrypt 3> "$home/status" ||
        fail "the identity does not open $1\"""" + _GPG_OPENED,
        },
    ),
    "gpg-symmetric": _with_key(
        "gpg", "--passphrase-file", "passphrase", "passphrase file", "passphrase",
        {
            "SECRET": "the **passphrase** in a file, ",
            "BY_HAND": "| gpg --batch --pinentry-mode loopback --passphrase-file passphrase --decrypt ",
            "PREPARE": _GPG_HOME,
            "OPEN_WHY": "gpg ends with an error when the end is missing, so the exit status of cat is not missed",
            "OPEN": """cat -- "$@" | gpg --homedir "$home" --batch --quiet --yes --pinentry-mode loopback --passphrase-file "$passphrase" \\
        --status-fd 3 --output "$into/opened.tmp" --decrypt 3> "$home/status" ||
        fail "the passphrase does not open $1\"""" + _GPG_OPENED,
        },
    ),
    "none": {
        "TOOL": "", "TOOL_CODE": "", "KEY_USAGE": "", "KEY_PATH": "", "KEY_DEFAULT": "", "KEY_CASE": "", "KEY_CHECK": "",
        "SECRET": "", "BY_HAND": "", "PREPARE": "",
        "OPEN_WHY": "it is not sealed",
        "OPEN": """cat -- "$@" > "$into/opened.tmp" || fail "$1 cannot be read\"""",
    },
}  # fmt: skip
