# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks as an inventory writes them: what is wrong is named before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.lifeboat.postgres.plugins.doc_fragments.checks import ModuleDocFragment
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.factory import CHECKS, SPEC, parse
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

ONE_OF_EACH: list[dict[str, Any]] = [
    {"gapless": {"table": "invoices", "column": "number", "group_by": ["year"]}},
    {"integer": {"table": "orders", "columns": ["total_cents"]}},
    {"not_empty": {"tables": ["customers", "orders"]}},
    {"recent": {"table": "orders", "column": "placed_at", "max_age": "24h"}},
    {"sql": {"query": "SELECT 1", "expect": 1}},
    {"decrypt": {"table": "customers", "column": "secret", "key_file": "/keys/master"}},
    {"totp": {"table": "users", "column": "secret", "key_file": "/keys/master", "where": "id = 1", "secret_file": "/keys/totp"}},
    {"foreign_keys": {}},
    {"unique": {"tables": ["orders"], "columns": ["number"]}},
    {"amcheck": {"tables": ["orders"]}},
    {"command": {"argv": ["/bin/ledger", "verify"]}},
    {"http": {"start": ["/opt/shop/serve"], "url": "http://localhost/health"}},
]

TOTP = {"table": "t", "column": "c", "key_file": "k", "where": "true", "secret_file": "s"}


def test_names_are_stable_and_say_what_is_asked() -> None:
    assert [check.name for check in parse(ONE_OF_EACH)] == [
        "gapless invoices.number by year",
        "integer orders.total_cents",
        "not_empty customers, orders",
        "recent orders.placed_at",
        "sql SELECT 1",
        "decrypt customers.secret",
        "totp users.secret",
        "foreign_keys",
        "unique orders (number)",
        "amcheck orders",
        "command /bin/ledger verify",
        "http http://localhost/health",
    ]


def test_there_is_a_check_for_each_word() -> None:
    assert [next(iter(item)) for item in ONE_OF_EACH] == list(CHECKS)


def test_long_queries_of_one_beginning_have_names_of_their_own() -> None:
    query = "SELECT count(*) FROM orders WHERE status IN ('paid', 'shipped', 'delivered') AND total_cents <"
    one, other = parse([{"sql": {"query": f"{query} 0", "expect": 0}}, {"sql": {"query": f"{query}= 0", "expect": 0}}])
    assert one.name != other.name
    assert len(one.name) < 90


def test_a_given_name_and_timeout_are_taken() -> None:
    (check,) = parse([{"not_empty": {"tables": ["t"], "name": "somebody buys", "timeout": "90s"}}])
    assert (check.name, check.timeout_seconds) == ("somebody buys", 90)


def test_what_ansible_fills_in_means_the_same_as_leaving_it_out() -> None:
    filled = ArgumentSpecValidator({"checks": SPEC}).validate({"checks": ONE_OF_EACH})
    assert not filled.error_messages
    checks = parse(filled.validated_parameters["checks"])
    assert [vars(check) for check in checks] == [vars(check) for check in parse(ONE_OF_EACH)]
    assert all(check.timeout_seconds == 600 for check in checks)


def test_numbers_among_arguments_are_what_ansible_makes_of_them() -> None:
    (check,) = parse([{"command": {"argv": ["sleep", 5]}}])
    assert vars(check)["argv"] == ("sleep", "5")


def test_nothing_means_no_checks() -> None:
    assert parse(None) == parse([]) == []


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"gaples": {}}], r"unknown key 'gaples' \(checks\[0\]\)\. Did you mean 'gapless'"),
        ([{"recent": {"table": "t", "colum": "c", "max_age": "1d"}}], r"'colum' \(checks\[0\]\.recent\)\. Did you mean 'column'"),
        ([{"gapless": {"table": "t", "column": "c"}, "sql": {}}], "one check, found gapless, sql"),
        ([{}], "one check, known are gapless"),
        ([{"not_empty": None}], "one check, known are gapless"),
        (["gapless"], "expected a mapping"),
        ({"gapless": {}}, "expected a list of checks"),
        ([{"gapless": {"table": "t"}}], "column is required"),
        ([{"not_empty": {"tables": []}}], "tables is empty"),
        ([{"integer": {"table": "t", "columns": []}}], "columns is empty"),
        ([{"recent": {"table": "t", "column": "c", "max_age": "soon"}}], "expected a duration"),
        ([{"sql": {"query": "SELECT 1"}}], "one of expect and jmespath"),
        ([{"sql": {"query": "SELECT 1", "expect": 1, "jmespath": "x"}}], "one of expect and jmespath"),
        ([{"sql": {"query": "SELECT 1", "expect": [1]}}], "expect is one value"),
        ([{"decrypt": {"table": "t", "column": "c", "key_file": "k", "encoding": "base65"}}], "Did you mean 'base64'"),
        ([{"decrypt": {"table": "t", "column": "c", "key_file": "k", "separator": ":"}}], "separator needs encoding"),
        ([{"decrypt": {"table": "t", "column": "c", "key_file": "k", "matches": "("}}], "not a regular expression"),
        ([{"decrypt": {"table": "t", "column": "c", "key_file": "k", "aad": "x", "aad_column": "y"}}], "exclude each other"),
        ([{"not_empty": {"tables": ["t"]}}, {"not_empty": {"tables": ["t"]}}], "two checks are called 'not_empty t'"),
        ([{"not_empty": {"tables": ["t"], "timeout": "0"}}], "timeout"),
        ([{"not_empty": {"tables": ["t"], "groups": [1]}}], "groups: expected a list of texts"),
        ([{"totp": {"table": "t", "column": "c", "key_file": "k", "secret_file": "s"}}], "where is required"),
        ([{"totp": {**TOTP, "algorithm": "SHA2"}}], "Did you mean 'SHA"),
        ([{"totp": {**TOTP, "digits": 5}}], "digits is 5, the least is 6"),
        ([{"totp": {**TOTP, "period": 0}}], "period is 0, the least is 1"),
        ([{"foreign_keys": {"table": "t"}}], "'table'.*Did you mean 'tables'"),
        ([{"unique": {"columns": ["a"]}}], "columns belong to one table"),
        ([{"unique": {"tables": ["a", "b"], "columns": ["a"]}}], "columns belong to one table"),
        ([{"amcheck": {"heap": "maybe"}}], "heap: expected true or false"),
        ([{"command": {"argv": "ledger --verify"}}], "argv is a list"),
        ([{"command": {"argv": []}}], "argv is empty"),
        ([{"command": {"argv": ["a"], "status": 256}}], "status is 256"),
        ([{"command": {"argv": ["a"], "matches": "("}}], "not a regular expression"),
        ([{"command": {"argv": ["a"], "matches": "x", "jmespath": "y"}}], "exclude each other"),
        ([{"command": {"argv": ["a"], "readable": ["opt/shop"]}}], "not the absolute path"),
        ([{"command": {"argv": ["a"], "readable": ["/"]}}], "not the absolute path"),
        ([{"http": {"start": ["a"]}}], "url is required"),
        ([{"http": {"url": "http://localhost/"}}], "start is required"),
        ([{"http": {"start": ["a"], "url": "/health"}}], "not a URL like http://localhost/health"),
        ([{"http": {"start": ["a"], "url": "https://localhost/"}}], "not a URL like"),
        ([{"http": {"start": ["a"], "url": "http://localhost/a\r\nHost: b"}}], "not a URL like"),
        ([{"http": {"start": ["a"], "url": "http://shop.example/health"}}], "shop.example is not inside the drill"),
        ([{"http": {"start": ["a"], "url": "http://localhost/", "status": 99}}], "status is 99"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(items: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse(items)


def test_the_documentation_and_the_argument_specification_say_the_same() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["checks"]
    assert _documented(documented) == _specified(SPEC)


def _documented(option: dict[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in option.items() if key not in ("description", "suboptions")}
    if "suboptions" in option:
        said["options"] = {name: _documented(value) for name, value in option["suboptions"].items()}
    return said


def _specified(option: dict[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in option.items() if key in ("type", "elements", "default", "required", "choices")}
    if "options" in option:
        said["options"] = {name: _specified(value) for name, value in option["options"].items()}
    return said
