# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as the server writes them, lines of configuration files, and what of all that has to be written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.conf_file import edit, includes
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.methods import Commands, commands_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.naive import why_naive
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.plan import decide, wanted_settings
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import Entry, ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.values import Row, base_value, literal, shown
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

SECONDS = Row("archive_timeout", "0", "s", "sighup", "integer", "default", "0")
MEGABYTES = Row("wal_keep_size", "0", "MB", "sighup", "integer", "default", "0")
SUMMARIZE = Row("summarize_wal", "off", "", "sighup", "bool", "default", "off")
LEVEL = Row("wal_level", "replica", "", "postmaster", "enum", "default", "replica", ("minimal", "replica", "logical"))
MODE = Row("archive_mode", "off", "", "postmaster", "enum", "default", "off", ("always", "on", "off"))
SENDERS = Row("max_wal_senders", "10", "", "postmaster", "integer", "default", "10")
COMMAND = Row("archive_command", "", "", "sighup", "string", "default", "")
LIBRARY = Row("archive_library", "", "", "sighup", "string", "default", "")
ROWS = {row.name: row for row in (SECONDS, MEGABYTES, SUMMARIZE, LEVEL, MODE, SENDERS, COMMAND, LIBRARY)}


@pytest.mark.parametrize(
    ("row", "text", "base", "shows"),
    [
        (SECONDS, "60", "60", "1min"),
        (SECONDS, "90s", "90", "90s"),
        (SECONDS, " 5 min ", "300", "5min"),
        (SECONDS, "1h", "3600", "1h"),
        (SECONDS, "2d", "172800", "2d"),
        (SECONDS, "1500ms", "2", "2s"),
        (SECONDS, "0", "0", "0"),
        (MEGABYTES, "1GB", "1024", "1GB"),
        (MEGABYTES, "1536MB", "1536", "1536MB"),
        (SUMMARIZE, "TRUE", "on", "on"),
        (SUMMARIZE, "0", "off", "off"),
        (MODE, "yes", "on", "on"),
        (MODE, "Always", "always", "always"),
        (LEVEL, "hot_standby", "replica", "replica"),
        (SENDERS, "12", "12", "12"),
        (COMMAND, "x 'y' 60s", "x 'y' 60s", "x 'y' 60s"),
    ],
)
def test_a_value_is_the_same_however_it_is_spelled(row: Row, text: str, base: str, shows: str) -> None:
    assert base_value(row, text) == base
    assert shown(row, base) == shows
    assert base_value(row, shows) == base


@pytest.mark.parametrize(("row", "text"), [(SECONDS, "soon"), (SECONDS, "1MB"), (MODE, "perhaps"), (SUMMARIZE, "2"), (SENDERS, "3s")])
def test_a_value_that_the_server_would_not_take_is_refused(row: Row, text: str) -> None:
    with pytest.raises(ValueError, match=f"{row.name}: expected"):
        base_value(row, text)


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85"), max_size=40))
def test_any_text_in_a_file_is_found_there_again_and_changed_once_only(value: str) -> None:
    text = edit("# mine\n", {"restore_command": value})
    assert text == f"# mine\nrestore_command = {literal(value)}\n"
    assert edit(text, {"restore_command": value}) == text
    assert edit(text, {"restore_command": "x"}) == "# mine\nrestore_command = 'x'\n"


def test_of_two_lines_of_a_name_the_last_is_changed_which_is_the_one_that_counts() -> None:
    text = "archive_timeout = 1\nARCHIVE_TIMEOUT=2#c\r\n# archive_timeout = 3"
    assert edit(text, {"archive_timeout": "9", "archive_mode": "on"}) == (
        "archive_timeout = 1\nARCHIVE_TIMEOUT='9'#c\r\n# archive_timeout = 3\narchive_mode = 'on'\n"
    )


def test_what_a_file_reads_in_is_found() -> None:
    text = "#include_dir = 'no'\ninclude_dir 'conf.d' # yes\ninclude_if_exists='it''s.conf'\nInclude = /etc/x.conf\n"
    found = [(item.directive, item.target, item.line) for item in includes(text)]
    assert found == [("include_dir", "conf.d", 2), ("include_if_exists", "it's.conf", 3), ("include", "/etc/x.conf", 4)]


def state(*entries: Entry, **rows: Row) -> ServerState:
    return ServerState(180000, False, "77", "/data", "/data/postgresql.conf", 16 * 1024 * 1024, {**ROWS, **rows}, entries)


def job(**more: Any) -> ArchivingJob:
    return ArchivingJob.from_options({"login_db": "postgres", **more})


def changes(found: ServerState, asked: ArchivingJob) -> dict[str, str]:
    commands = commands_for(asked, None, "77") if asked.method else Commands(None)
    return {change.name: change.after for change in decide(found, wanted_settings(asked, found, commands)).changes}


PUSH = {"method": "command", "command": "archive-wal %p %f"}


def test_the_level_of_wal_is_raised_and_never_lowered() -> None:
    minimal = state(wal_level=replace(LEVEL, boot="minimal", running="minimal"))
    assert changes(minimal, job(**PUSH))["wal_level"] == "replica"
    logical = state(Entry(1, "/data/x.conf", 3, "wal_level", "logical"))
    assert "wal_level" not in changes(logical, job(**PUSH, wal_level="replica"))
    assert changes(state(), job(wal_level="logical")) == {"wal_level": "logical"}


def test_archiving_that_is_always_on_stays_so_unless_something_else_is_asked() -> None:
    always = state(Entry(1, "/data/x.conf", 3, "archive_mode", "always"))
    assert "archive_mode" not in changes(always, job(**PUSH))
    assert changes(always, job(**PUSH, archive_mode="on"))["archive_mode"] == "on"
    assert changes(always, job(archive_mode="off")) == {"archive_mode": "off"}


def test_of_several_lines_the_last_counts_and_a_faulty_one_does_not() -> None:
    lines = [
        Entry(1, "/data/a.conf", 1, "archive_timeout", "30"),
        Entry(2, "/data/b.conf", 1, "archive_timeout", "1min"),
        Entry(3, "/data/c.conf", 1, "archive_timeout", "soon", "setting could not be applied"),
    ]
    assert state(*lines).configured("archive_timeout").place == "/data/b.conf, line 1"
    assert [fault.file for fault in state(*lines).faults()] == ["/data/c.conf"]
    # A change that waits for a restart is marked in the same words, and is no fault.
    assert not state(Entry(1, "/data/a.conf", 1, "archive_mode", "on", "setting could not be applied")).faults()
    assert state(Entry(1, "/data/a.conf", 1, "archive_mode", "perhaps", "setting could not be applied")).faults()
    # So is a line that is gone, in whatever language.
    gone = Entry(0, "", 0, "", "", "der Parameter „archive_mode“ kann nicht ohne Neustart des Servers geändert werden")
    assert not state(gone).faults()
    assert state(Entry(0, "", 0, "", "", "could not open configuration file „/data/postgresql.conf“: Permission denied")).faults()


FEW = "--retries 1 --low-level-retries 3"
COMMANDS = [
    ({"method": "pgbackrest", "stanza": "my shop"}, "pgbackrest '--stanza=my shop' archive-push %p"),
    (
        {"method": "wal-g", "config_file": "/etc/100%/w.yaml"},
        "WALG_PREVENT_WAL_OVERWRITE=true wal-g --config /etc/100%%/w.yaml wal-push %p",
    ),
    ({"method": "barman", "barman_server": "shop", "barman_host": "b"}, "barman-wal-archive b shop %p"),
    ({"method": "barman", "barman_server": "shop", "barman_url": "s3://w"}, "barman-cloud-wal-archive s3://w shop %p"),
    (
        {"method": "barman", "barman_server": "shop", "barman_url": "s3://w", "barman_endpoint": "https://s3.example.net"},
        "barman-cloud-wal-archive --endpoint-url https://s3.example.net s3://w shop %p",
    ),
    (
        {"method": "rclone", "remote": "off:shop's wal/"},
        f"rclone copyto --ignore-existing {FEW} %p 'off:shop'\"'\"'s wal'/%f && rclone cat {FEW} 'off:shop'\"'\"'s wal'/%f | cmp -s - %p",
    ),
]


@pytest.mark.parametrize(("given_options", "command"), COMMANDS, ids=[str(item[0]["method"]) for item in COMMANDS])
def test_a_tool_is_run_with_its_words_quoted(given_options: dict[str, Any], command: str) -> None:
    assert commands_for(job(**given_options), None, "77").archive == command


@pytest.mark.parametrize(
    "options", [item[0] for item in COMMANDS] + [{"method": m, "directory": "/it's 100%"} for m in ("directory", "spool")]
)
def test_our_own_commands_pass_the_judgement_that_others_have_to(options: dict[str, Any]) -> None:
    assert why_naive(str(commands_for(job(**options), None, "77").archive)) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pgbackres"}, "Did you mean 'pgbackrest'"),
        ({"method": "pgbackrest"}, "needs stanza"),
        ({"method": "directory"}, "needs directory"),
        ({"method": "directory", "directory": "wal"}, "expected an absolute path"),
        ({"method": "receive", "slots": ["My-Slot"]}, "no name of a slot"),
        ({"method": "command", "command": "cp %p /a/%f"}, "this archive_command loses WAL: cp: it overwrites"),
        ({"method": "command", "command": "a %p\nb"}, "more than one line"),
        ({"method": "native", "command": "a %p"}, "command is for method: command"),
        ({"method": "native", "archive_library": "basic_archive"}, "method and archive_library"),
        ({"method": "spool", "directory": "/s", "restore_command": "auto"}, "restore_command: auto"),
        ({"restore_command": "cp /a/%f"}, "has to name %f"),
        ({"path": "/a.conf"}, "path is for place: file"),
        ({"place": "file", "server_path": "/a.conf"}, "server_path without path"),
        ({"place": "flags", "restart": True}, "restart: true with place: flags"),
        ({"restart_command": ["reboot"]}, "restart_command without restart: true"),
        ({"reload": False, "restart": True}, "restart: true with reload: false"),
        ({"verify": True}, "verify without a method"),
        ({"repositories": {"here": {"type": "posix", "path": "/x"}}}, "repositories without system"),
        ({"wal_level": "minimal"}, "unknown value 'minimal'"),
    ],
)
def test_a_wrong_option_is_answered_by_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        job(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rclone", "remote": "/mnt/wal"}, "names no remote"),
        ({"method": "barman", "barman_server": "s"}, "one of barman_host and barman_url"),
        ({"method": "native"}, "receive or spool"),
    ],
)
def test_what_a_method_cannot_do_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        commands_for(job(**options), None, "77")
