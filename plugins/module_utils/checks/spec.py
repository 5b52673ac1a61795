# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each check takes, as Ansible's argument specification. Data only: a module reads it before it knows which checks it needs.

A check's own file reads the values and judges them; it is loaded when the check is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ALGORITHMS", "COMMON", "ENCODINGS", "KEY_ENCODINGS", "LAYOUTS", "OPTIONS", "PLAINTEXTS", "SPEC"]

KEY_ENCODINGS = ("raw", "hex", "base64")
"""How a key lies in its file."""
ENCODINGS = ("raw", "base64", "hex")
"""How a sealed value lies in its column."""
LAYOUTS = ("nonce_ciphertext_tag", "nonce_tag_ciphertext")
PLAINTEXTS = ("base32", "hex", "base64", "raw")
"""How an authenticator's secret is written once it is opened."""
ALGORITHMS = ("SHA1", "SHA256", "SHA512")

_TEXT: Mapping[str, Any] = {"type": "str"}
_NEEDED: Mapping[str, Any] = {"type": "str", "required": True}
_TEXTS: Mapping[str, Any] = {"type": "list", "elements": "str", "default": []}
_NEEDED_TEXTS: Mapping[str, Any] = {"type": "list", "elements": "str", "required": True}
_PATHS: Mapping[str, Any] = {"type": "list", "elements": "path", "default": []}

# A value that the application sealed by itself, and the key that opens it.
_SEALED: Mapping[str, Any] = {
    "table": _NEEDED,
    "column": _NEEDED,
    "key": {"type": "str", "no_log": False},
    "key_part": {"type": "str", "default": "", "no_log": False},
    "key_file": {"type": "path", "no_log": False},
    "key_encoding": {"type": "str", "choices": list(KEY_ENCODINGS), "default": "raw", "no_log": False},
    "encoding": {"type": "str", "choices": list(ENCODINGS), "default": "raw"},
    "layout": {"type": "str", "choices": list(LAYOUTS), "default": "nonce_ciphertext_tag"},
    "separator": {"type": "str", "default": ""},
    "nonce_bytes": {"type": "int", "default": 12},
    "aad": _TEXT,
    "aad_column": _TEXT,
}

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "gapless": {"table": _NEEDED, "column": _NEEDED, "group_by": _TEXTS, "start": {"type": "int"}},
    "integer": {"table": _NEEDED, "columns": _NEEDED_TEXTS},
    "not_empty": {"tables": _NEEDED_TEXTS},
    "recent": {"table": _NEEDED, "column": _NEEDED, "max_age": _NEEDED, "time_zone": {"type": "str", "default": "UTC"}},
    "sql": {"query": _NEEDED, "expect": {"type": "raw"}, "jmespath": _TEXT},
    "decrypt": {**_SEALED, "limit": {"type": "int", "default": 10000}, "matches": _TEXT},
    "totp": {
        **_SEALED,
        "where": _NEEDED,
        "secret_file": {"type": "path", "required": True, "no_log": False},
        "plaintext": {"type": "str", "choices": list(PLAINTEXTS), "default": "base32"},
        "digits": {"type": "int", "default": 6},
        "period": {"type": "int", "default": 30},
        "algorithm": {"type": "str", "choices": list(ALGORITHMS), "default": "SHA1"},
    },
    "foreign_keys": {"tables": _TEXTS},
    "unique": {"tables": _TEXTS, "columns": _TEXTS},
    "amcheck": {
        "tables": _TEXTS,
        "heapallindexed": {"type": "bool", "default": True},
        "parent": {"type": "bool", "default": False},
        "heap": {"type": "bool", "default": True},
    },
    "command": {
        "argv": _NEEDED_TEXTS,
        "status": {"type": "int", "default": 0},
        "jmespath": _TEXT,
        "matches": _TEXT,
        "readable": _PATHS,
    },
    "http": {
        "start": _NEEDED_TEXTS,
        "url": _NEEDED,
        "status": {"type": "int", "default": 200},
        "jmespath": _TEXT,
        "readable": _PATHS,
    },
}
"""Each check's own options, by its word."""

COMMON: Mapping[str, Any] = {"name": _TEXT, "timeout": {"type": "str", "default": "10m"}, "groups": _TEXTS}
"""What every check takes beside its own."""

_SEALED_RULES: Mapping[str, Any] = {
    "mutually_exclusive": [["aad", "aad_column"], ["key", "key_file"]],
    "required_one_of": [["key", "key_file"]],
}
_RULES: Mapping[str, Mapping[str, Any]] = {
    "sql": {"required_one_of": [["expect", "jmespath"]], "mutually_exclusive": [["expect", "jmespath"]]},
    "decrypt": _SEALED_RULES,
    "totp": _SEALED_RULES,
    "foreign_keys": {"no_log": False},  # Ansible takes the word for the name of a secret
    "command": {"mutually_exclusive": [["jmespath", "matches"]]},
}

SPEC: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {word: {"type": "dict", "options": {**own, **COMMON}, **_RULES.get(word, {})} for word, own in OPTIONS.items()},
    "mutually_exclusive": [list(OPTIONS)],
    "required_one_of": [list(OPTIONS)],
}
