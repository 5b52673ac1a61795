# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A `.env` file is read as Docker Compose reads it; the same table is asked of the program where it is there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.env_file import EnvFileError, parse, parse_literally, value_of
from hypothesis import given
from hypothesis import strategies as st

LINES: dict[str, tuple[bytes, bytes]] = {
    "plain": (b"K=value", b"value"),
    "spaces around": (b"K =  value \t ", b"value"),
    "export": (b"export K=value", b"value"),
    "as in YAML": (b"K: value", b"value"),
    "an equals sign in it": (b"K=YWJj==", b"YWJj=="),
    "empty": (b"K=", b""),
    "a comment behind": (b"K=value # not part of it", b"value"),
    "a hash in it": (b"K=val#ue", b"val#ue"),
    "single quotes": (b"K='a $b \"c\" #d \\n'", b'a $b "c" #d \\n'),
    "a single quote in single quotes": (b"K='it\\'s'", b"it's"),
    "double quotes": (b"K=\"a #b 'c'\"", b"a #b 'c'"),
    "escapes in double quotes": (b'K="a\\nb\\tc\\\\d\\"e\\$f"', b'a\nb\tc\\d"e$f'),
    "escapes without quotes are none": (b"K=a\\nb", b"a\\nb"),
    "a dollar twice": (b"K=a$$b", b"a$b"),
    "an octal escape": (b'K="\\0101"', b"A"),
    "several lines": (b"K='-----BEGIN KEY-----\nabc\n-----END KEY-----'", b"-----BEGIN KEY-----\nabc\n-----END KEY-----"),
    "a backslash before the last quote": (b'K="a\\\\"', b"a\\"),
    "a comment behind quotes": (b"K='a' # b", b"a"),
    "blanks inside": (b"K=a b  c", b"a b  c"),
    "signs beyond ASCII": ("K=schlüssel-ключ".encode(), "schlüssel-ключ".encode()),
    "Windows line ends": (b"K=value\r", b"value"),
}


def around(line: bytes) -> bytes:
    return b"# first\n\nBEFORE=1\n" + line + b"\nAFTER=2\n"


@pytest.mark.parametrize(("line", "value"), LINES.values(), ids=LINES)
def test_a_value_is_read_as_it_is_meant(line: bytes, value: bytes) -> None:
    assert parse(around(line)) == {"BEFORE": b"1", "K": value, "AFTER": b"2"}
    assert parse(line) == {"K": value}


@pytest.mark.needs("compose")
def test_docker_compose_reads_the_same(tmp_path: Path) -> None:
    compose = "services:\n  app:\n    image: none\n    environment:\n"
    content = b""
    for number, (line, _value) in enumerate(LINES.values()):
        content += line.replace(b"K", f"V{number}_".encode(), 1) + b"\n"
        compose += f'      V{number}_: "${{V{number}_}}"\n'
    (tmp_path / ".env").write_bytes(content)
    (tmp_path / "compose.yaml").write_text(compose)
    argv = ["docker", "compose", "--project-directory", str(tmp_path), "config", "--format", "json"]
    said = json.loads(subprocess.run(argv, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin:/usr/local/bin"}).stdout)
    found = {name: value.replace("$$", "$") for name, value in said["services"]["app"]["environment"].items()}
    assert found == {f"V{number}_": value.decode() for number, (_line, value) in enumerate(LINES.values())}


@pytest.mark.parametrize("value", [b"a$b", b"${OTHER}", b"$2y$10$abc", b'"x${A:-b}"'])
def test_what_compose_would_fill_in_is_not_guessed_and_the_others_are_read(value: bytes) -> None:
    found = parse(b"GOOD=1\nK=" + value + b"\n")
    assert found["GOOD"] == b"1"
    with pytest.raises(EnvFileError, match="line 2: Compose would put the value of a variable") as caught:
        value_of(found, "K")
    assert value.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"), [(b"A=1\nK='x", "line 2: a quoted value does not end"), (b"A=1\n\n='x", "line 3 does not begin")]
)
def test_a_line_that_cannot_be_read_is_named_and_not_shown(data: bytes, said: str) -> None:
    with pytest.raises(EnvFileError, match=said):
        parse(data)


def test_the_last_of_a_name_counts_and_a_name_alone_is_no_value() -> None:
    assert parse(b"\xef\xbb\xbfK=1\nK=2\nNOTHING\nL=3\n") == {"K": b"2", "L": b"3"}


def test_literally_every_sign_is_itself() -> None:
    assert parse_literally(b"K='a' $b # c \r\nexport L=x\n#M=1\n") == {"K": b"'a' $b # c ", "L": b"x"}


@given(st.binary(max_size=60))
def test_no_file_is_a_fault_of_ours(data: bytes) -> None:
    try:
        parse(data)
    except EnvFileError as error:
        assert "\n" not in str(error)
    parse_literally(data)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="'\\\0\r"), max_size=40))
def test_what_stands_in_single_quotes_is_itself(value: str) -> None:
    assert parse(b"K='" + value.encode() + b"'\n") == {"K": value.encode()}
