# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, as Ansible's argument specifications: data, to be merged with `**`.

Each has its twin in `plugins/doc_fragments`, under the same name; ansible-test compares the two.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.spec import SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import METHODS

__all__ = ["CHECKS_SPEC", "ENCRYPTION_SPEC", "GUARDS_SPEC", "LOGIN_SPEC", "REPOSITORIES_SPEC"]

LOGIN_SPEC: dict[str, Any] = {
    "login_host": {"type": "str", "default": ""},
    "login_port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
    "login_password": {"type": "str", "default": "", "no_log": True},
    "login_password_file": {"type": "path", "no_log": False},
    "login_unix_socket": {"type": "str", "default": ""},
    "login_db": {"type": "str"},
    "login_url": {"type": "str", "no_log": True},
    "login_url_file": {"type": "path"},
    "ssl_mode": {"type": "str", "default": "prefer", "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"]},
    "ca_cert": {"type": "path"},
    "ssl_cert": {"type": "path"},
    "ssl_key": {"type": "path"},
}

REPOSITORIES_SPEC: dict[str, Any] = {"repositories": {"type": "dict", "required": True}}

ENCRYPTION_SPEC: dict[str, Any] = {
    "encryption": {
        "type": "dict",
        "required": True,
        "options": {
            "method": {"type": "str", "default": METHODS[0], "choices": list(METHODS)},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "key_recipients": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "keyring_file": {"type": "path", "no_log": False},
            "passphrase_file": {"type": "path", "no_log": False},
        },
    }
}

GUARDS_SPEC: dict[str, Any] = {
    "limits": {
        "type": "dict",
        "options": {
            "min_bytes": {"type": "str"},
            "max_bytes": {"type": "str"},
            "min_objects": {"type": "int"},
            "max_objects": {"type": "int"},
            "shrink": {"type": "str"},
            "growth": {"type": "str"},
            "last": {"type": "int"},
            "zero_tables": {"type": "str", "choices": ["fail", "warn"]},
        },
    },
    "accept_deviation": {"type": "bool", "default": False},
    "snapshot_budget": {"type": "str"},
    "xmin_age_limit": {"type": "int"},
    "digests": {
        "type": "dict",
        "options": {
            "tables": {"type": "list", "elements": "str"},
            "exclude": {"type": "list", "elements": "str"},
            "rotate_days": {"type": "int"},
            "budget": {"type": "str"},
            "large_objects": {"type": "bool"},
        },
    },
}

CHECKS_SPEC: dict[str, Any] = {"checks": SPEC}
