# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a remote of rclone really lies: aliases, and remotes that encrypt, split or join others, are looked through.

What the remotes are is asked of rclone itself (`rclone config dump`); their secrets are digested at once and kept nowhere.
"""

from __future__ import annotations

import json
import os
import posixpath
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import place_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place import Place, local_place, s3_place, sftp_place
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_daemon import environment, find_rclone
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import (
    RcloneOptions,
    check_config_file,
    parse_rclone,
    split_remote,
)

__all__ = ["place_in", "rclone_place"]

Configuration = Mapping[str, Mapping[str, str]]

_DEEPEST = 20
"""Remotes within remotes; rclone itself has no limit, and a circle would never end."""
_JOINING = {"union": "upstreams", "combine": "upstreams"}
_HOSTS = ("host", "url", "endpoint", "server", "account", "project_number", "namenode")
_WHO = ("user", "account", "username", "client_id", "service_account_file", "team_drive", "drive_id")
_SECRETS = (
    "token", "pass", "password", "key", "secret", "access_key_id", "client_secret", "service_account_file", "service_account_credentials",
    "sas_url", "bearer_token", "api_key", "access_token", "key_pem", "application_key",
)  # fmt: skip


def rclone_place(name: str, spec: Mapping[str, Any]) -> Place:
    """The place of a `{type: rclone}`; raises `ConfigurationError`, `MissingTool`."""
    given = parse_rclone(name, spec)
    check_config_file(given)
    return place_in(_dump(given), given.remote, f"repository {name!r}")


def place_in(configuration: Configuration, remote: str, where: str, depth: int = 0) -> Place:
    """The place of "name:path" by rclone's configuration. Pure but for links and mounts of this machine."""
    name, path = split_remote(remote)
    if depth > _DEEPEST:
        raise ConfigurationError("the remotes of config_file lead round in a circle", where, f"Look at {remote!r} there.")
    if remote.startswith(":"):
        # A remote that is made up on the way: its sort and options stand in its name.
        settings, path = _connection_string(remote)
        return _place(configuration, settings, path, where, depth, remote.partition(":")[0])
    if not name:
        return local_place(path)
    name, _comma, overrides = name.partition(",")
    if name not in configuration:
        raise ConfigurationError(
            f"config_file has no remote called {name!r}", where, f"It has: {', '.join(sorted(configuration)) or 'none'}."
        )
    return _place(configuration, {**configuration[name], **_overrides(overrides)}, path, where, depth, name)


def _place(configuration: Configuration, settings: Mapping[str, str], path: str, where: str, depth: int, name: str) -> Place:
    kind = settings.get("type", "")
    fingerprint = place_credentials.digest("rclone", *(settings.get(word, "") for word in _SECRETS))
    if kind == "local":
        return local_place(path if os.path.isabs(path) else "/" + path)
    if kind == "s3":
        bucket, _slash, prefix = path.strip("/").partition("/")
        key = settings.get("access_key_id") or _ambient(settings)
        provider_is_amazon = settings.get("provider", "") in ("AWS", "")
        endpoint = settings.get("endpoint") or ("" if provider_is_amazon else f"{settings['provider']}.{settings.get('region', '')}")
        if endpoint and "//" not in endpoint:
            endpoint = "https://" + endpoint
        return s3_place(endpoint or None, bucket, prefix, key)
    if kind == "sftp":
        key_file = os.path.expanduser(settings.get("key_file", ""))
        user = settings.get("user", "")
        at = place_credentials.of_key_file(key_file) or fingerprint
        top = path if posixpath.isabs(path) else f"{_home(user)}/{path}"
        return sftp_place(settings.get("host", ""), user, top, at)
    inside = [place_in(configuration, inner, where, depth + 1) for inner in _inner(kind, settings, path)]
    if inside:
        detail = f"{name}:{path}, really " + " and ".join(place.detail for place in inside)
        return Place(f"rclone:{kind}", "", "", "", detail, inside=tuple(inside))
    host = next((settings[word] for word in _HOSTS if settings.get(word)), "")
    who = next((settings[word] for word in _WHO if settings.get(word)), "")
    root = "/".join(filter(None, (*path.split("/"),)))
    account = f"{who} at {kind} {host}".strip() if who else ""
    return Place(f"rclone:{kind}", host.casefold(), root, fingerprint, f"{kind} {host} {root}".strip(), account)


def _inner(kind: str, settings: Mapping[str, str], path: str) -> Iterator[str]:
    """The remotes that this one is made of, each with the path that it has there; nothing for one that stands on its own."""
    if kind in _JOINING:
        first, _slash, rest = path.strip("/").partition("/")
        for upstream in shlex.split(settings.get(_JOINING[kind], "")):
            if kind == "union":
                # Behind an upstream may stand what may be done with it: `disk:a:ro`.
                plain = upstream[: -len(upstream.rpartition(":")[2]) - 1] if upstream.endswith((":ro", ":nc", ":writeback")) else upstream
                yield _joined(plain, path)
            else:
                folder, _equals, inner = upstream.partition("=")
                if not first or folder == first:
                    yield _joined(inner, rest)
    elif settings.get("remote"):
        # alias, crypt, chunker, compress, hasher, cache, archive: whatever has a remote of its own wraps it.
        yield _joined(settings["remote"], path)


def _joined(remote: str, path: str) -> str:
    if not path or not path.strip("/"):
        return remote
    return f"{remote}{'' if remote.endswith((':', '/')) else '/'}{path.strip('/')}"


def _connection_string(remote: str) -> tuple[dict[str, str], str]:
    """`:sort,option=value:path`."""
    words, _colon, path = remote[1:].partition(":")
    kind, _comma, overrides = words.partition(",")
    return {"type": kind, **_overrides(overrides)}, path


def _overrides(text: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in text.split(",") if word)
    return {name: value.strip("'\"") for name, _equals, value in pairs}


def _ambient(settings: Mapping[str, str]) -> str:
    return f"profile {settings['profile']}" if settings.get("profile") else "the machine's own identity"


def _home(user: str) -> str:
    """A path that is relative at a server begins in the account's home, which nobody here knows; but two accounts have two."""
    return f"/~{user}"


def _dump(given: RcloneOptions) -> Configuration:
    where = f"repository {given.name!r}"
    argv = [find_rclone(given), "config", "dump", "--config", given.config_file, "--ask-password=false"]
    try:
        # pylint: disable-next=ansible-bad-function  # a library that also runs without Ansible; argv, never a shell
        done = subprocess.run(argv, env=environment(), capture_output=True, timeout=60, cwd="/", check=False)
        found = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        raise ConfigurationError(f"rclone cannot read config_file {given.config_file}", where, "Look at it: rclone config show.") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"config_file {given.config_file} is no configuration of rclone", where)
    return {str(name): {str(key): str(value) for key, value in settings.items()} for name, settings in found.items()}
