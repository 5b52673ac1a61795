# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are read strictly, and the error speaks the operator's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

WHERE = "repository 'offsite'"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        options.unknown_keys({"type": "s3", "prefx": "x"}, ("type", "bucket", "prefix"), WHERE)
    assert str(caught.value) == "unknown key 'prefx' (repository 'offsite'). Did you mean 'prefix'?"


def test_an_unknown_key_that_resembles_none_lists_all() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key 'zzz' .* Known are: bucket, type\."):
        options.unknown_keys({"zzz": 1}, ("type", "bucket"), WHERE)


@pytest.mark.parametrize(("given_", "found"), [("text", "text"), (["a"], "a list"), (5, "a number"), (None, "NoneType")])
def test_something_else_than_a_mapping_is_refused(given_: object, found: str) -> None:
    with pytest.raises(ConfigurationError, match=f"expected a mapping, found {found}"):
        options.unknown_keys(given_, ("type",), WHERE)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.none()), st.sets(st.text(), min_size=1))
def test_exactly_the_known_keys_pass(keys: dict[str, None], known: set[str]) -> None:
    if set(keys) <= known:
        options.unknown_keys(keys, known, WHERE)
    else:
        with pytest.raises(ConfigurationError):
            options.unknown_keys(keys, known, WHERE)


@pytest.mark.parametrize(
    "take", [options.text, options.texts, options.mapping, options.boolean, options.integer, options.size_bytes, options.duration_seconds]
)
def test_null_is_absent_and_absent_is_the_default_or_an_error(take: object) -> None:
    assert take({"key": None}, "key", WHERE, "the default") == "the default"  # type: ignore[operator]
    assert take({}, "key", WHERE, None) is None  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=r"key is required \(repository 'offsite'\)"):
        take({}, "key", WHERE)  # type: ignore[operator]


@settings(deadline=None)
@given(anything)
def test_whatever_is_given_is_taken_or_refused_by_a_sentence(value: object) -> None:
    for take in (
        options.text,
        options.texts,
        options.mapping,
        options.boolean,
        options.integer,
        options.size_bytes,
        options.duration_seconds,
    ):
        try:
            take({"key": value}, "key", WHERE)
        except ConfigurationError as error:
            assert str(error).startswith("key")
            assert len(str(error)) < 200


def test_text_takes_a_number_as_yaml_writes_it_and_refuses_what_is_no_text() -> None:
    assert options.text({"name": 2024}, "name", WHERE) == "2024"
    for wrong in ("", "a\0b", ["a"], True):
        with pytest.raises(ConfigurationError) as caught:
            options.text({"name": wrong}, "name", WHERE)
        assert "a\\x00b" not in str(caught.value)


def test_a_text_that_is_wrong_is_never_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        options.texts({"recipients": [{"hunter2": 1}]}, "recipients", WHERE)
    assert "hunter2" not in str(caught.value)


def test_a_choice_names_the_nearest_word() -> None:
    assert options.choice({"type": "s3"}, "type", WHERE, ("posix", "s3")) == "s3"
    assert options.choice({}, "type", WHERE, ("posix", "s3"), "posix") == "posix"
    with pytest.raises(ConfigurationError, match=r"type: unknown value 'possix' .* Did you mean 'posix'\?"):
        options.choice({"type": "possix"}, "type", WHERE, ("posix", "s3"))


@pytest.mark.parametrize(
    ("value", "meant"), [(True, True), ("yes", True), ("On", True), (1, True), ("false", False), ("No", False), (0, False), (0.0, False)]
)
def test_booleans_are_what_ansible_takes(value: object, meant: bool) -> None:
    assert options.boolean({"key": value}, "key", WHERE) is meant


@pytest.mark.parametrize("value", ["maybe", 2, 0.5, [], "", "truee"])
def test_what_is_no_boolean_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="expected true or false"):
        options.boolean({"key": value}, "key", WHERE)


def test_integers_keep_their_bounds() -> None:
    assert options.integer({"port": " 5432 "}, "port", WHERE, minimum=1, maximum=65535) == 5432
    assert options.integer({"port": 3.0}, "port", WHERE) == 3
    with pytest.raises(ConfigurationError, match="port is 0, the least is 1"):
        options.integer({"port": 0}, "port", WHERE, minimum=1)
    with pytest.raises(ConfigurationError, match="port is 70000, the most is 65535"):
        options.integer({"port": 70000}, "port", WHERE, maximum=65535)
    for wrong in (True, "5.5", 5.5, "five", float("nan"), float("inf"), "٥"):
        with pytest.raises(ConfigurationError, match="expected a whole number"):
            options.integer({"port": wrong}, "port", WHERE)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100", 100),
        (100, 100),
        ("1 kB", 1000),
        ("1KiB", 1024),
        ("64M", 64 << 20),
        ("512MiB", 512 << 20),
        ("8GB", 8 * 10**9),
        ("1.5GiB", 3 << 29),
        ("2t", 2 << 40),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert options.size_bytes({"key": text}, "key", WHERE) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", -1, "1.2.3M", "10 parsecs", True, 1.5, [], "1e3", "0x10"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ConfigurationError, match="expected a size like 512MiB"):
        options.size_bytes({"key": text}, "key", WHERE)


@settings(deadline=None)
@given(st.integers(0, 2**50))
def test_a_size_reads_back_whatever_the_unit(number: int) -> None:
    for unit, factor in (("", 1), ("KiB", 2**10), ("MB", 10**6), ("GiB", 2**30)):
        assert options.parse_size(f"{number}{unit}") == number * factor


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("24h", 86400),
        ("7d", 604800),
        ("2w", 1209600),
        ("30", 30),
        (30, 30),
        (0.5, 0.5),
        ("1h30m", 5400),
        ("1h 30 min", 5400),
        ("0.5h", 1800),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert options.duration_seconds({"key": text}, "key", WHERE) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5s", -5, "5 10", "5m10", "10 parsecs", True, [], "1e3s", float("nan"), float("inf")])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ConfigurationError, match="expected a duration like 90s"):
        options.duration_seconds({"key": text}, "key", WHERE)


def test_a_duration_keeps_its_least() -> None:
    with pytest.raises(ConfigurationError, match="stall_timeout is 0 seconds, the least is 1"):
        options.duration_seconds({"stall_timeout": "0s"}, "stall_timeout", WHERE, minimum=1)


def test_a_path_may_begin_with_the_home_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert options.path({"dir": "~/backups"}, "dir", "here", absolute=True) == Path("/home/somebody/backups")
    assert options.path({"dir": ""}, "dir", "here") is None
    assert options.path({}, "dir", "here") is None
    assert options.path({"dir": "beside"}, "dir", "here") == Path("beside")
    with pytest.raises(ConfigurationError, match=r"dir: expected an absolute path, found 'beside'"):
        options.path({"dir": "beside"}, "dir", "here", absolute=True)


def test_secrets_are_found_wherever_they_stand_and_their_paths_are_none() -> None:
    words = {
        "login_password": "hush", "login_password_file": "/etc/p", "passphrase_files": ["/etc/q"], "state_dir": "/var",
        "repositories": {"offsite": {"secret_key": "hush", "credentials_file": "/etc/c"}}, "login_url": "postgresql://hush",
        "recipients": ["age1x", "AGE-SECRET-KEY-1HUSH"], "checks": [{"columns": ["password"], "password": "column"}],
    }  # fmt: skip
    found = dict(options.secrets_among(words))
    assert found == {
        "login_password": "hush", "secret_key": "hush", "login_url": "postgresql://hush", "recipients": "AGE-SECRET-KEY-1HUSH",
    }  # fmt: skip
