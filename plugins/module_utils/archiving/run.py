# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module `wal_archive_config`, told in order: look, decide, write, look again, reload, restart if asked, prove if asked.

A file that the server cannot read is never loaded: it is put back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.local import LocalServer, check_restart, find_server, run_restart
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.marker import is_marked, mark
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.methods import Commands, commands_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.places import (
    ConfigurationFile,
    Place,
    SystemSettings,
    find_file,
    read_includes,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.plan import Plan, decide, wanted_settings
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.slot import Slots, look_at_slots, make_slots
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import ServerState, read_state
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.steps import (
    APPLICATION,
    check_library,
    connect_again,
    refuse_faults,
    reload_files,
    state_after_reload,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.values import literal
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.verify import check_verify, verify
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["run"]


def run(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module's result; raises `LifeboatError`."""
    job = ArchivingJob.from_options(params, check_mode)
    connection = open_connection(job.login, application_name=APPLICATION)
    with connection:
        story = _Story(job, connection, read_state(connection))
        story.look()
        if check_mode:
            return story.predict()
        story.write()
        story.load()
    if story.restarts:
        run_restart(story.server, job.restart_command, job.restart_timeout_seconds)
        story.restarted = True
    if not (story.restarted or job.verify or story.slots_are_due):
        return story.result()
    with connect_again(job) as again:
        story.go_on(again)
        story.finish()
        return story.result()


@dataclass
class _Story:
    """One run. `state` is the server's as it was found, `now` as it is after the last step."""

    job: ArchivingJob
    connection: Connection[Any]
    state: ServerState
    server: LocalServer | None = None
    plan: Plan = field(default_factory=lambda: Plan((), ()))
    commands: Commands = field(default_factory=lambda: Commands(None))
    place: Place | None = None
    slots: Slots | None = None
    unmarked: bool = False
    wrote: bool = False
    reloaded: bool = False
    restarted: bool = False
    made_slots: bool = False
    made_marker: bool = False
    verification: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = self.state

    def look(self) -> None:
        """Everything that can be refused is refused here, before anything is written."""
        job, state = self.job, self.state
        refuse_faults(state.faults(), "before anything was changed")
        self.server = find_server(self.connection, state.data_directory)
        if job.method:
            self.commands = commands_for(job, self.server, state.system_identifier)
        if job.archive_library:
            check_library(self.connection, job.archive_library)
        check_verify(job, state)
        if job.method == "receive":
            self.slots = look_at_slots(self.connection, job.slots, state)
        self.plan = decide(state, wanted_settings(job, state, self.commands, self.slots.needed if self.slots else 0))
        if job.place == "system":
            self.place = SystemSettings(self.connection)
        elif job.place == "file" and self.plan.changes:
            self.place = find_file(job.path, job.server_path, state, read_includes(self.connection, state))
        if self.place is not None:
            self._refuse_beaten(self.place)
        if job.method == "directory":
            self.unmarked = not is_marked(self.connection, job.directory, state.system_identifier)
        if self.restarts:
            check_restart(self.server, job.restart_command, state.running("logging_collector") == "on")
        self.warnings += [*self.commands.warnings, *(self.slots.warnings if self.slots else [])]
        self._warn_of_silence()

    def predict(self) -> dict[str, Any]:
        """What a run would do, as its result."""
        self.restarted = self.restarts
        self.reloaded = self._reload_is_due() and self.job.reload
        self.wrote = bool(self.plan.changes) and self.place is not None
        self.made_slots = self.slots_are_due
        self.made_marker = self.unmarked
        return self.result()

    def write(self) -> None:
        """Write, ask the server what it makes of the files, and put back what was there if it cannot take them."""
        if self.unmarked:
            mark(self.server, self.job.directory, self.state.system_identifier)
            self.made_marker = True
        if not self.plan.changes or self.place is None:
            return
        self.place.write(self.state, self.plan.changes)
        try:
            self.now = read_state(self.connection)
            refuse_faults(self.now.faults(), f"{self.place.label} was put back")
            self._check_written(self.place)
        except BaseException:
            self.place.put_back()
            raise
        self.wrote = True

    def load(self) -> None:
        """Tell the server to read its files, and wait until it has."""
        if not (self.job.reload and self._reload_is_due()):
            return
        reload_files(self.connection)
        self.reloaded = True
        self.now = state_after_reload(self.connection, self.plan)

    def go_on(self, connection: Connection[Any]) -> None:
        """With a new session: the old one may have ended with the server."""
        self.connection = connection
        self.now = read_state(connection)
        self.server = find_server(connection, self.now.data_directory)

    def finish(self) -> None:
        """What needs the settings in force: the slot, and the proof."""
        job = self.job
        waiting = self.restart_required()
        if self.slots is not None and self.slots.missing:
            if "wal_level" in waiting or "max_replication_slots" in waiting:
                self.warnings.append("the slots are made after the restart: run this again then")
            else:
                make_slots(self.connection, self.slots.missing)
                self.made_slots = True
        if not job.verify:
            return
        undone = [name for name in self._differing() if name != "restore_command"]
        if undone:
            raise ArchiveError(
                f"nothing was verified: {', '.join(undone)} {'is' if len(undone) == 1 else 'are'} not in force yet",
                "verify",
                "Restart the server, then verify again." if waiting else "Reload the server, then verify again.",
                self.result(),
            )
        try:
            self.verification = verify(job, self.connection, self.now, self.server)
        except ArchiveError as error:
            error.result = {**self.result(), **error.result}
            raise

    @property
    def restarts(self) -> bool:
        """Whether this run restarts the server: asked for, and something waits for it."""
        changed = {change.name for change in self.plan.changes} if not self.wrote else set()
        due = [name for name in changed if self.state.rows[name].needs_restart]
        return self.job.restart and bool(due or self.restart_required())

    @property
    def slots_are_due(self) -> bool:
        return self.slots is not None and bool(self.slots.missing)

    def restart_required(self) -> list[str]:
        """The settings of ours whose new value waits for a restart."""
        return [name for name in self._differing() if self.now.rows[name].needs_restart]

    def result(self) -> dict[str, Any]:
        job, plan = self.job, self.plan
        flags = [word for item in plan.wanted for word in ("-c", f"{item.name}={self._target(item.name)}")]
        predicted = {change.name for change in plan.changes}
        differing = self._differing() if not self._predicts else [n for n in self._names() if n in predicted or n in self._differing()]
        waiting = [name for name in differing if self.now.rows[name].needs_restart]
        result: dict[str, Any] = {
            "changed": self.wrote or self.reloaded or self.restarted or self.made_slots or self.made_marker,
            "settings": self._settings(),
            "restart_required": [] if self.restarted else waiting,
            "reload_required": [] if self.reloaded or self.restarted else [name for name in differing if name not in waiting],
            "reloaded": self.reloaded,
            "restarted": self.restarted,
            "diff": self._diff(),
            "warnings": self.warnings,
        }
        if job.place == "flags":
            result.update(flags=flags, compose_command=_compose_command(flags), restart_required=differing, reload_required=[])
            if differing:
                self.warnings.append("nothing was changed: put the flags where the server is started from, and restart it")
        elif isinstance(self.place, ConfigurationFile):
            result["file"] = str(self.place.path)
        if self.slots is not None:
            result["slots"] = self.slots.to_dict(self.made_slots)
        if self.verification is not None:
            result["verification"] = self.verification
        return result

    @property
    def _predicts(self) -> bool:
        return self.wrote and self.now is self.state

    def _names(self) -> list[str]:
        return [item.name for item in self.plan.wanted]

    def _target(self, name: str) -> str:
        """What will hold in the end: what is kept, or what was asked."""
        for item, configured in self.plan.kept:
            if item.name == name:
                return self.state.shown(name, configured.value)
        return self.state.shown(name, next(change.after for change in self.plan.changes if change.name == name))

    def _differing(self) -> list[str]:
        """The settings whose running value is not yet what was asked for."""
        return [item.name for item in self.plan.wanted if not item.is_met_by(self.now.running(item.name))]

    def _reload_is_due(self) -> bool:
        """Whether the files say something about our settings that the server has not read yet."""
        if self.job.place == "flags":
            return False
        return bool(self.plan.changes) or any(not self.state.rows[name].needs_restart for name in self._differing())

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        kept = {item.name: configured for item, configured in self.plan.kept}
        changes = {change.name: change for change in self.plan.changes}
        for name in self._names():
            before = kept[name].value if name in kept else changes[name].before
            where = kept[name].place if name in kept else changes[name].where
            settings[name] = {
                "before": self.state.shown(name, before),
                "after": self._target(name),
                "running": self.now.shown(name, self.now.running(name)),
                "where": where if name in kept or self.place is None else self.place.label,
                "applies_by": "restart" if self.state.rows[name].needs_restart else "reload",
            }
        return settings

    def _diff(self) -> dict[str, str]:
        """As the lines of a configuration file; with place: flags nothing is changed."""
        settings = self._settings()
        changed = {change.name for change in self.plan.changes} if self.place is not None else set()
        before = [f"{name} = {literal(said['before'])}\n" for name, said in settings.items()]
        after = [f"{name} = {literal(said['after' if name in changed else 'before'])}\n" for name, said in settings.items()]
        label = self.place.label if self.place is not None else "settings"
        return {"before_header": label, "after_header": label, "before": "".join(before), "after": "".join(after)}

    def _refuse_beaten(self, place: Place) -> None:
        for change in self.plan.changes:
            where = place.beaten_by(self.state, change.name)
            if where:
                self._beaten(change.name, where, self.state)

    def _beaten(self, name: str, where: str, state: ServerState) -> None:
        value = state.shown(name, state.configured(name).value)
        wanted = next(change.after for change in self.plan.changes if change.name == name)
        flags = "command line" in where or "environment" in where
        raise ConfigurationError(
            f"{name} is set to {value!r} in {where}, which wins over {self.place.label if self.place else 'us'};"
            f" wanted is {state.shown(name, wanted)!r}. Nothing was changed",
            where,
            f"Change it there{' (place: flags lists what is needed)' if flags else ', or remove that line'}; it was set by somebody else.",
        )

    def _check_written(self, place: Place) -> None:
        """The server itself says whether our lines count."""
        if isinstance(place, ConfigurationFile) and not place.is_read(self.now):
            raise ConfigurationError(
                f"the server does not see what was written to {place.path}; it was put back",
                place.server_path,
                "Say as server_path where the server sees the file. In a container mount its directory: a file that is mounted alone"
                " stays the old one there.",
            )
        for change in self.plan.changes:
            configured = self.now.configured(change.name)
            if not change.wanted.is_met_by(configured.value):
                self._beaten(change.name, configured.place, self.now)

    def _warn_of_silence(self) -> None:
        if not (self.job.archives or self.job.method == "receive"):
            return
        timeout = self.job.archive_timeout or self.state.configured("archive_timeout").value
        if self.job.method != "receive" and timeout in ("0", "0s"):
            self.warnings.append("archive_timeout is 0: a quiet server archives nothing until a segment is full; set it, as 1min")


def _compose_command(flags: Sequence[str]) -> str:
    """The flags as the `command:` of a Compose file, where a dollar sign is doubled. JSON texts are YAML, too."""
    return f"command: {json.dumps(['postgres', *flags], ensure_ascii=False).replace('$', '$$')}"
