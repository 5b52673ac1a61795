# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several databases of a real server, or all: each an asset, one's trouble its own, and none lost sight of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, NotAllBackedUp
from support.clusters import Server
from support.modules import run_module
from support.parts import require

Asked = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """With three databases of a system, one that takes no connections, and an empty `postgres`."""
    require("postgresql:18")
    with Server(18) as found:
        for name in ("shop", "licences", "shop_test"):
            found.execute(f"CREATE DATABASE {name}")
            found.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n", name)
        found.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        yield found


@pytest.fixture
def way(server: Server, asked: Asked) -> Asked:
    def build(**more: Any) -> dict[str, Any]:
        place = {"login_unix_socket": str(server.socket_dir), "login_port": server.port, "bin_dir": str(server.bin_dir)}
        return asked(**place, globals="false", **more)

    return build


def assets(given: dict[str, Any]) -> list[str]:
    return sorted({path.parent.name for path in Path(given["repositories"]["here"]["path"]).rglob("manifests/database/*/*.json")})


def test_all_databases_are_all_but_templates_what_is_empty_and_what_is_excluded(way: Asked, server: Server) -> None:
    given = way(all_databases=True, exclude_databases=["*_test"], max_age="1h")
    result = run(given)
    assert sorted(result["databases"]) == assets(given) == ["licences", "shop"]
    assert all(one["backup_id"] and not one["failed"] for one in result["databases"].values())
    expected = {"postgres": "empty", "shop_test": "excluded", "closed": "takes no connections"}
    assert result["left_out"] == {**expected, "template0": "a template", "template1": "a template"}
    # One created after this was configured is in the next run, in which the others are young.
    with server.database("temporal"):
        again = run(given)
        assert [name for name, one in again["databases"].items() if one["changed"]] == ["temporal"]
        assert assets(given) == ["licences", "shop", "temporal"]
    assert run(given)["changed"] is False


def test_postgres_itself_counts_when_somebody_keeps_something_in_it(way: Asked, server: Server) -> None:
    server.execute("CREATE TABLE kept (n int)")
    try:
        assert "postgres" in run(way(all_databases=True), check_mode=True)["databases"]
        assert run(way(databases=["licences"], login_db="shop"), check_mode=True)["unlisted"] == ["postgres", "shop", "shop_test"]
    finally:
        server.execute("DROP TABLE kept")


def test_beside_a_fixed_list_a_new_database_is_flagged(way: Asked, server: Server) -> None:
    given = way(databases=["shop", "licences"], exclude_databases=["shop_test"])
    result = run(given)
    assert (result["unlisted"], assets(given)) == ([], ["licences", "shop"])
    assert sum("not signed" in warning for warning in result["warnings"]) == 1, "what is true of all is said once"
    with server.database("temporal"):
        warned = run(given, check_mode=True)
        assert warned["unlisted"] == ["temporal"]
        assert [warning for warning in warned["warnings"] if "neither listed nor excluded: temporal" in warning]
        with pytest.raises(NotAllBackedUp, match=r"not as described\. .*temporal") as caught:
            run({**given, "unlisted": "fail"})
        assert sorted(caught.value.result["databases"]) == ["licences", "shop"], "they had their turn"
        ignored = run({**given, "unlisted": "ignore"}, check_mode=True)
        assert (ignored["unlisted"], [w for w in ignored["warnings"] if "temporal" in w]) == (["temporal"], [])


def test_a_pattern_takes_in_what_matches_it_and_one_that_matches_nothing_is_an_error(way: Asked) -> None:
    given = way(databases=["shop*", {"name": "licences", "evidence_queries": [{"name": "rows", "query": "SELECT count(*) FROM t"}]}])
    assert sorted(run(given, check_mode=True)["databases"]) == ["licences", "shop", "shop_test"]
    with pytest.raises(NotAllBackedUp, match=r"shpo\*: this pattern matches no database"):
        run(way(databases=["shpo*", "shop"]), check_mode=True)


def test_one_that_fails_does_not_keep_the_others_from_their_turn(way: Asked) -> None:
    given = way(databases=["absent", "licences", "closed", "shop"], unlisted="ignore")
    with pytest.raises(
        NotAllBackedUp, match=r"2 of 4 databases of system shop not backed up\. absent: .*no database 'absent'.* closed: "
    ) as caught:
        run(given)
    result = caught.value.result
    assert {name: one["failed"] for name, one in result["databases"].items()} == {
        "absent": True, "closed": True, "licences": False, "shop": False,
    }  # fmt: skip
    assert assets(given) == ["licences", "shop"]


def test_the_module_says_the_same(way: Asked, tmp_path: Path) -> None:
    result = run_module("pg_logical_backup", way(databases=["shop", {"name": "licences"}]), tmp_path)
    assert not result["failed"], result
    assert (sorted(result["databases"]), result["unlisted"]) == (["licences", "shop"], ["shop_test"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"databases": ["shop"], "name": "shop"}, "name is for one database"),
        ({"databases": ["shop", "shop"]}, "'shop' is named twice"),
        ({"databases": [{"name": "shop", "chekcs": []}]}, "unknown key 'chekcs'.*'checks'"),
        ({"databases": [{"checks": []}]}, "name is required"),
        ({"databases": ["licences", {"name": "shop", "max_age": "soon"}]}, "max_age.*databases, item 2"),
        ({"databases": [{"name": "shop", "limits": {"shrnk": "0.5"}}]}, "'shrnk'.*'shrink'"),
        ({"databases": [{"name": "shop", "digests": {"tables": ["all"], "rotate_days": 0}}]}, "rotate_days"),
        ({"databases": [{"name": "shop", "login_db": "x"}]}, "unknown key 'login_db'"),
        ({"databases": [3]}, "expected a list of names"),
        ({"exclude_databases": ["x"], "login_db": "shop"}, "without databases to exclude from"),
        ({"databases": ["shop"], "unlisted": "wran"}, "unlisted: unknown value 'wran'.*'warn'"),
        ({"all_databases": "perhaps"}, "all_databases: expected true or false"),
        ({"databases": ["shop"], "repositories": {}}, "repositories is empty"),
    ],
)
def test_wrong_values_are_answered_in_one_sentence_before_anything_runs(way: Asked, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run({**way(), **wrong})
