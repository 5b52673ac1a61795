# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a drill restores to, as an operator says it; and what counts as a network."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import proof
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.engine import Engine, project_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.throwaway import Throwaway
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"


def test_nothing_said_is_this_host_also_as_ansible_says_it() -> None:
    assert Throwaway.from_options({}, "t") == Throwaway()
    assert Throwaway.from_options({"type": "local", "image": None, "files": None}, "t") == Throwaway()


def test_a_container_and_a_project() -> None:
    found = Throwaway.from_options({"type": "container", "image": "postgres:18"}, "t")
    assert (found.engine, found.image) == ("auto", "postgres:18")
    found = Throwaway.from_options({"type": "compose", "service": "db", "project_directory": "/opt/shop"}, "t")
    assert (found.engine, found.service, found.project_directory) == ("docker", "db", "/opt/shop")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"type": "contianer"}, "type: unknown value 'contianer'.*'container'"),
        ({"type": "container"}, "image is required"),
        ({"type": "container", "image": "--privileged"}, "cannot be a name"),
        ({"type": "container", "image": "a b"}, "cannot be a name"),
        ({"type": "container", "image": "x", "engine": "dcoker"}, "unknown value 'dcoker'.*'docker'"),
        ({"type": "container", "image": "x", "service": "db"}, "service is for type compose"),
        ({"image": "x"}, "image is for type container, and the type is local"),
        ({"type": "compose", "project_directory": "/opt/shop"}, "service is required"),
        ({"type": "compose", "service": "db"}, "where the Compose file is, is not said"),
        ({"type": "compose", "service": "db", "project_directory": "shop"}, "expected an absolute path"),
        ({"type": "compose", "service": "db", "files": ["compose.yaml"]}, "expected an absolute path"),
        ({"type": "compose", "service": "db", "project_directory": "/x", "engine": "podman"}, "engine is for type container"),
        ({"typ": "container"}, "unknown key 'typ'.*'type'"),
    ],
)
def test_wrong_options_are_answered_in_one_sentence(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Throwaway.from_options(wrong, "throwaway")
    assert "\n" not in str(caught.value)


def test_a_project_has_a_name_that_compose_takes() -> None:
    assert project_of("drill-20261121T050000Z-1a2b3c4d") == "lifeboat-drill-20261121t050000z-1a2b3c4d"


def test_an_engine_is_found_again_by_its_record_and_by_nothing_else() -> None:
    engine = Engine("podman", "/usr/bin/podman", {"PATH": "/usr/bin"}, project=True)
    assert Engine.from_record(engine.record()) == engine
    assert Engine.from_record({**engine.record(), "engine": "rm"}) is None
    assert Engine.from_record({}) is None


def test_an_engine_that_does_not_answer_is_something_that_may_be_left() -> None:
    (left,) = Engine("docker", "/nowhere/docker").clear("drill-x")
    assert "could not be asked" in left


@pytest.mark.parametrize(
    ("routes", "addresses", "found"),
    [
        (ROUTES, "", []),
        (ROUTES, LOOPBACK, []),
        (ROUTES + "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", LOOPBACK, ["a network by eth0"]),
        (ROUTES, LOOPBACK + "fe80000000000000020000fffe000001 02 40 20 80     eth0\n", ["a network by eth0"]),
        ("", "", []),
        (None, LOOPBACK, ["networks that could not be looked for (/proc/net/route cannot be read)"]),
    ],
)
def test_any_route_or_address_but_the_loopbacks_is_a_network(
    routes: str | None, addresses: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/proc/net/route": routes, "/proc/net/if_inet6": addresses}
    monkeypatch.setattr(proof, "_seen", lambda _conn, path: files[path])
    monkeypatch.setattr(proof, "_read", lambda _conn, path: files[path] or "")
    conn: Any = None
    assert proof._networks(conn) == found
