# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written, where, and what is left as it was: looked at on the server, not in the module's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError, MissingTool
from support.clusters import Server
from support.leaks import eventually
from support.modules import run_module
from support.wal_config import Configured

pytestmark = pytest.mark.needs("postgresql:15", "postgresql:18")

PUSH = "archive-wal %p %f"


def test_alter_system_writes_what_is_missing_and_a_second_run_changes_nothing(pg: Configured) -> None:
    before = pg.auto()
    predicted = pg(check=True, method="command", command=PUSH, archive_timeout="60")
    assert predicted["changed"]
    assert pg.auto() == before

    done = pg(method="command", command=PUSH, archive_timeout="60")
    assert done["changed"]
    assert done["diff"] == predicted["diff"]
    assert "archive_mode = 'off'\n" in done["diff"]["before"]
    assert "archive_mode = 'on'\n" in done["diff"]["after"]
    assert "archive_timeout = '1min'\n" in done["diff"]["after"]
    assert done["restart_required"] == predicted["restart_required"] == ["archive_mode"]
    assert done["reloaded"] and not done["restarted"]
    assert pg.shown("archive_command") == "(disabled)" and pg.shown("archive_timeout") == "1min"
    assert f"archive_command = '{PUSH}'" in pg.auto() and "wal_level" not in pg.auto()

    again = pg(method="command", command=PUSH, archive_timeout="1min")
    assert not again["changed"] and not again["reloaded"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert again["restart_required"] == ["archive_mode"]


def test_quotes_and_percent_signs_arrive_as_they_were_written(pg: Configured) -> None:
    command = """archive-wal --note 'it''s 100%% \\done' "%p" %f"""
    for place in ("system", "file"):
        assert pg(method="command", command=command, place=place)["changed"]
        with pg.server.connect() as connection:
            row = connection.execute("SELECT reset_val FROM pg_settings WHERE name = 'archive_command'").fetchone()
        assert row == (command,)
        assert not pg(method="command", command=command, place=place)["changed"]
        pg.clean()


def test_a_file_in_conf_d_is_made_like_its_neighbours_and_reset_by_nobody_else(pg: Configured) -> None:
    done = pg(method="command", command=PUSH, place="file")
    path = pg.conf_d / "lifeboat.conf"
    assert done["file"] == str(path)
    assert f"archive_command = '{PUSH}'\n" in path.read_text()
    assert (path.stat().st_uid, path.stat().st_mode) == ((pg.server.data / "postgresql.conf").stat().st_uid, 0o100600)
    assert [entry.name for entry in pg.conf_d.iterdir()] == ["lifeboat.conf"]
    assert not pg(method="command", command=PUSH, place="file")["changed"]


def test_other_lines_of_a_file_stay_as_they_are(pg: Configured) -> None:
    theirs = "# ours\nwork_mem = 5MB\nArchive_Timeout 30 # seconds\n#archive_mode = off\nlog_line_prefix = 'a#b'"
    path = pg.put("mine.conf", theirs)
    pg(method="command", command=PUSH, place="file", path=str(path), archive_timeout="2min")
    assert path.read_text().startswith(theirs.replace("Timeout 30 #", "Timeout '2min' #") + "\n")
    assert pg.shown("archive_timeout") == "2min"


def test_what_is_good_already_stays_where_it_is(pg: Configured) -> None:
    pg.put("10-mine.conf", "wal_level = logical\narchive_timeout = 60s\nmax_wal_senders = 20\n")
    done = pg(method="command", command=PUSH, archive_timeout="1min", wal_level="replica", max_wal_senders=5)
    for name in ("wal_level", "archive_timeout", "max_wal_senders"):
        assert name not in pg.auto()
        assert "10-mine.conf, line" in done["settings"][name]["where"]
    assert done["settings"]["wal_level"]["after"] == "logical"
    assert "max_wal_senders" not in done["restart_required"]


@pytest.mark.parametrize(
    ("name", "line", "place"),
    [
        ("zz-mine.conf", "archive_timeout = 30", "zz-mine.conf, line 2"),
        ("postgresql.conf", "archive_timeout = 30", "postgresql.conf, line"),
        ("postgresql.auto.conf", "archive_timeout = 30", "postgresql.auto.conf, line"),
    ],
)
@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_a_line_that_wins_over_ours_is_named_and_nothing_is_changed(pg: Configured, name: str, line: str, place: str, check: bool) -> None:
    if name == "postgresql.auto.conf":
        pg.server.execute("ALTER SYSTEM SET archive_timeout = 30")
    elif name == "postgresql.conf":
        with (pg.server.data / name).open("a") as main:
            main.write(f"{line}\n")
    else:
        pg.put(name, f"# mine\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"archive_timeout is set to '30s' in .*" + place):
        pg(check=check, method="command", command=PUSH, archive_timeout="1min", place="file")
    assert not (pg.conf_d / "lifeboat.conf").exists()


@pytest.mark.parametrize("nested", [False, True], ids=["by the same file", "by another file"])
def test_a_directory_that_is_read_later_wins_and_is_named(pg: Configured, nested: bool) -> None:
    later = pg.server.data / "later.d"
    later.mkdir(exist_ok=True)
    pg.own(later)
    (later / "00.conf").write_text("archive_timeout = 30\n")
    pg.own(later / "00.conf")
    with (pg.server.data / "postgresql.conf").open("a") as main:
        main.write("include = 'more.conf'\n" if nested else "include_dir = 'later.d'\n")
    (pg.server.data / "more.conf").write_text("include_dir = 'later.d'\n")
    pg.own(pg.server.data / "more.conf")
    path = pg.conf_d / "lifeboat.conf"
    with pytest.raises(ConfigurationError, match=r"'30s' in .*later\.d/00\.conf, line 1"):
        pg(archive_timeout="1min", place="file", path=str(path))
    assert not path.exists()
    # Without a path the directory that is read last is taken.
    done = pg(archive_timeout="1min", place="file", check=True)
    assert done["file"] == str(later / "lifeboat.conf") and done["changed"]


def test_a_line_that_comes_before_ours_is_overridden(pg: Configured) -> None:
    pg.put("10-mine.conf", "archive_timeout = 30\n")
    done = pg(archive_timeout="1min", place="file")
    assert done["settings"]["archive_timeout"]["before"] == "30s"
    assert pg.shown("archive_timeout") == "1min"


def test_the_command_line_wins_over_everything_and_is_named(pg: Configured) -> None:
    pg.put("10-mine.conf", "max_connections = 70\n")  # the tests' server has it on its command line
    pg.server.settings["archive_timeout"] = "45"
    pg.server.halt()
    pg.server.start()
    try:
        for place in ("system", "file"):
            with pytest.raises(ConfigurationError, match="'45s' in the server's command line"):
                pg(archive_timeout="1min", place=place)
        assert not pg(archive_timeout="45s")["changed"]
    finally:
        del pg.server.settings["archive_timeout"]
        pg.server.halt()
        pg.server.start()


@pytest.mark.parametrize("fault", ["archive_timeout = 'soon'", "no_such_setting = 1", "archive_mode = perhaps", "work_mem = '4 MB"])
def test_files_that_the_server_cannot_take_are_not_loaded(pg: Configured, fault: str) -> None:
    pg.put("10-broken.conf", f"# mine\n{fault}\n")
    before = pg.auto()
    with pytest.raises(ConfigurationError, match=r"10-broken\.conf, line [23]"):
        pg(method="command", command=PUSH)
    assert pg.auto() == before


def test_what_was_written_is_put_back_when_the_server_cannot_take_it(pg: Configured) -> None:
    pg.server.execute("ALTER SYSTEM SET archive_timeout = 10")
    with pytest.raises(DatabaseError):
        pg(method="command", command=PUSH, archive_timeout="99999999min", restore_command="fetch %f %p")
    assert "archive_command" not in pg.auto() and "archive_timeout = '10'" in pg.auto()

    pg.clean()
    path = pg.put("mine.conf", "# mine\n")
    with pytest.raises(ConfigurationError, match="was put back"):
        pg(method="command", command=PUSH, archive_timeout="99999999min", place="file", path=str(path))
    assert path.read_text() == "# mine\n"
    assert pg.shown("archive_command") == "(disabled)"


def test_a_file_that_the_server_does_not_read_is_refused(pg: Configured, tmp_path: Path) -> None:
    for path in (pg.server.directory / "elsewhere.conf", pg.conf_d / "lifeboat.txt", pg.conf_d / ".hidden.conf"):
        with pytest.raises(ConfigurationError, match="the server reads neither"):
            pg(method="command", command=PUSH, place="file", path=str(path))
        assert not path.exists()
    # The same name, but the server's is another file: as with a container's path that is not mounted from there.
    other = tmp_path / "lifeboat.conf"
    with pytest.raises(ConfigurationError, match="does not see what was written"):
        pg(method="command", command=PUSH, place="file", path=str(other), server_path=str(pg.conf_d / "lifeboat.conf"))
    assert not other.exists()
    (pg.server.data / "postgresql.conf").write_text(pg.main.replace("include_dir", "#include_dir"))
    with pytest.raises(ConfigurationError, match="Add include_dir"):
        pg(method="command", command=PUSH, place="file")


def test_flags_change_nothing_and_say_what_belongs_on_the_command_line(pg: Configured) -> None:
    before = pg.auto()
    done = pg(method="command", command=f"{PUSH} $HOME", place="flags")
    assert not done["changed"] and pg.auto() == before
    assert done["flags"][:2] == ["-c", f"wal_level={pg.shown('wal_level')}"]
    assert f"archive_command={PUSH} $HOME" in done["flags"]
    assert "$$HOME" in done["compose_command"]
    assert set(done["restart_required"]) == {"archive_mode", "archive_command"}


def test_without_a_reload_it_is_said_what_waits(pg: Configured) -> None:
    done = pg(archive_timeout="1min", reload=False)
    assert done["changed"] and done["reload_required"] == ["archive_timeout"] and pg.shown("archive_timeout") == "0"
    later = pg(archive_timeout="1min")
    assert later["changed"] and later["reloaded"] and pg.shown("archive_timeout") == "1min"


def test_a_restart_is_made_only_when_it_is_asked_for_and_says_how(pg: Configured) -> None:
    with pg.server.connect() as connection:
        started = connection.execute("SELECT pg_postmaster_start_time()").fetchone()
        pg(method="command", command=PUSH)
        assert connection.execute("SELECT pg_postmaster_start_time()").fetchone() == started
    done = pg(method="command", command=PUSH, restart=True, restart_command=["true"])
    assert done["restart_required"] == [] or not done["restarted"]


def test_a_library_is_set_only_when_it_exists(pg: Configured) -> None:
    with pytest.raises(MissingTool, match="there is no library no_such_archiver"):
        pg(archive_library="no_such_archiver")
    pg(method="command", command=PUSH)
    done = pg(archive_library="basic_archive")
    assert done["settings"]["archive_command"]["after"] == "" and pg.shown("archive_library") == "basic_archive"
    back = pg(method="command", command=PUSH)
    assert back["settings"]["archive_library"]["after"] == "" and pg.shown("archive_library") == ""


def test_summaries_need_a_server_that_makes_them(pg: Configured) -> None:
    if pg.server.major < 17:
        with pytest.raises(ConfigurationError, match="came with PostgreSQL 17"):
            pg(summarize_wal=True)
    else:
        assert pg(summarize_wal=True)["changed"] and pg.shown("summarize_wal") == "on"


def test_where_alter_system_is_not_allowed_the_file_is_named_as_the_way(pg: Configured) -> None:
    if pg.server.major < 17:
        return  # the setting came with 17
    pg.put("10-mine.conf", "allow_alter_system = off\n")
    pg.server.execute("SELECT pg_reload_conf()")
    eventually(lambda: pg.shown("allow_alter_system") == "off", "reloaded")
    try:
        with pytest.raises(DatabaseError, match="take place: file"):
            pg(archive_timeout="1min")
        assert pg(archive_timeout="1min", place="file")["changed"]
    finally:
        (pg.conf_d / "10-mine.conf").unlink()
        pg.server.execute("SELECT pg_reload_conf()")
        eventually(lambda: pg.shown("allow_alter_system") == "on", "reloaded")


def test_a_value_that_the_server_would_not_take_is_refused_before_anything_is_written(pg: Configured) -> None:
    for value in ("soon", "5 parsecs", "1MB"):
        with pytest.raises(ConfigurationError, match="archive_timeout: expected a whole number"):
            pg(method="command", command=PUSH, archive_timeout=value)
    assert "archive_command" not in pg.auto()


def test_a_login_that_may_not_look_is_told_what_it_takes(pg: Configured) -> None:
    with pg.server.role("ordinary"), pytest.raises(DatabaseError, match="Log in as a superuser"):
        pg(method="command", command=PUSH, login_user="ordinary")


def test_real_ansible_predicts_changes_and_refuses(tmp_path: Path) -> None:
    with Server(18) as server:
        pg = Configured(server)
        options = {
            "login_unix_socket": str(server.socket_dir), "login_port": server.port,
            "method": "command", "command": PUSH, "archive_timeout": "5min", "place": "file",
        }  # fmt: skip
        predicted = run_module("wal_archive_config", options, tmp_path, check=True)
        assert predicted["changed"] and not list(pg.conf_d.iterdir())
        done = run_module("wal_archive_config", options, tmp_path)
        assert done["changed"] and done["settings"]["archive_timeout"]["running"] == pg.shown("archive_timeout") == "5min"
        assert {**done, "settings": 0, "warnings": 0} == {**predicted, "settings": 0, "warnings": 0}
        refused = run_module("wal_archive_config", {**options, "command": "cp %p /archive/%f"}, tmp_path)
        assert refused["failed"] and "this archive_command loses WAL: cp: it overwrites" in refused["msg"]


def test_a_file_that_is_mounted_elsewhere_is_written_here_and_read_there(pg: Configured, tmp_path: Path) -> None:
    """As for a server in a container: its directory lies at another path here."""
    mounted = tmp_path / "conf.d"
    mounted.symlink_to(pg.conf_d)
    options: dict[str, Any] = {"place": "file", "path": str(mounted / "lifeboat.conf"), "server_path": str(pg.conf_d / "lifeboat.conf")}
    assert pg(archive_timeout="1min", **options)["changed"] and pg.shown("archive_timeout") == "1min"
    assert not pg(archive_timeout="1min", **options)["changed"]
