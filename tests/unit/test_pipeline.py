# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream is whole or it raises its first cause, and either way nothing is left behind."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import pipeline, process_stage
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, MissingTool, PipelineError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Counter, FunctionStage, Pipeline, ProcessStage, run_through
from hypothesis import given, settings
from hypothesis import strategies as st
from support.leaks import children, eventually, leaves_nothing

ENDLESS = ["cat", "/dev/zero"]


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    with leaves_nothing():
        yield


def cat(name: str = "cat") -> ProcessStage:
    return ProcessStage(name, ["cat"])


def shell(name: str, script: str, **more: Any) -> ProcessStage:
    return ProcessStage(name, ["sh", "-c", script], **more)


def drain(*stages: pipeline.Stage, source: Any = None) -> bytes:
    output = bytearray()
    run_through(stages, source, output.extend)
    return bytes(output)


# --- bytes


@settings(max_examples=30, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=200_000), max_size=6),
    sizes=st.lists(st.integers(min_value=1, max_value=300_000), min_size=1, max_size=3),
    processes=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_whatever_goes_in_comes_out_in_whatever_pieces_it_is_read(chunks: list[bytes], sizes: list[int], processes: list[bool]) -> None:
    def in_pieces(source: BinaryIO, target: BinaryIO) -> None:
        turn = 0
        while data := source.read(sizes[turn % len(sizes)]):
            target.write(data)
            turn += 1

    assert drain(*[cat() if process else FunctionStage("pieces", in_pieces) for process in processes], source=chunks) == b"".join(chunks)


def test_a_source_may_be_a_file_object_or_chunks_or_a_first_stage_that_produces() -> None:
    assert drain(cat(), source=io.BytesIO(b"file")) == b"file"
    assert drain(cat(), source=iter([b"ch", b"", b"unks"])) == b"chunks"
    assert drain(shell("printf", "printf produced"), cat()) == b"produced"


def test_chunks_are_never_larger_than_a_mebibyte() -> None:
    with Pipeline([shell("head", "head -c 5000000 /dev/zero")]) as stream:
        sizes = [len(chunk) for chunk in stream]
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= pipeline.CHUNK_BYTES


def test_a_pipeline_that_is_never_read_drops_its_output_and_still_checks_it() -> None:
    sink = shell("sink", "cat; echo bye")
    with Pipeline([sink], [b"x" * 3_000_000]):
        pass
    assert sink.returncode == 0
    with pytest.raises(PipelineError, match="sink ended with exit status 4"), Pipeline([shell("sink", "cat; exit 4")], [b"x"]):
        pass


@pytest.mark.parametrize("kernel", [True, False], ids=["moved by the kernel", "copied"])
def test_a_counter_passes_on_every_byte_of_many(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.delattr(os, "splice", raising=False)
    whole = [bytes([number % 251]) * 70_001 for number in range(60)]
    counter = Counter("dump", header=whole[0][:5])
    taken: list[bytes] = []
    run_through([counter], whole, taken.append)
    assert b"".join(taken) == b"".join(whole)
    assert counter.size_bytes == 60 * 70_001


def test_counter_counts_and_knows_a_header() -> None:
    counter = Counter("dump", header=b"PGDMP")
    assert drain(counter, source=[b"PGD", b"MP", b"rest"]) == b"PGDMPrest"
    assert counter.size_bytes == 9
    with pytest.raises(PipelineError, match=r"dump: the stream does not begin with b'PGDMP' but with b'PG'"):
        drain(Counter("dump", header=b"PGDMP"), source=[b"PG"])


# --- the first cause


@pytest.mark.parametrize("victim", range(4))
def test_a_stage_that_is_killed_midway_is_named_whatever_the_others_say(victim: int) -> None:
    stages_: list[ProcessStage] = [ProcessStage("dump", ENDLESS), cat("compress"), cat("seal"), cat("send")]
    with pytest.raises(PipelineError) as caught, Pipeline(stages_) as stream:
        for number, _chunk in enumerate(stream):
            if number == 5:
                os.kill(stages_[victim].pid or 0, signal.SIGKILL)
    assert str(caught.value).startswith(f"{stages_[victim].name} was killed by signal 9 (SIGKILL)")
    assert "out-of-memory" in caught.value.next_step


def test_a_cut_stream_blames_the_first_stage_and_not_the_reader_that_complains_about_the_cut() -> None:
    reader = shell("open", "cat; echo 'unexpected end' >&2; exit 1")
    with pytest.raises(PipelineError, match=r"^fetch ended with exit status 7: connection lost\.$"):
        drain(shell("fetch", "echo half; echo connection lost >&2; exit 7"), reader)


def test_a_failing_reader_is_blamed_and_not_the_broken_pipe_before_it() -> None:
    with pytest.raises(PipelineError, match=r"^seal ended with exit status 3: no recipients\.$"):
        drain(ProcessStage("dump", ENDLESS), cat("compress"), shell("seal", "head -c 99; echo no recipients >&2; exit 3"))


def test_a_program_that_reports_a_broken_pipe_by_exit_status_is_not_blamed_either() -> None:
    stubborn = shell("stubborn", "trap '' PIPE; cat /dev/zero || exit 9")  # cat: write error: Broken pipe
    with pytest.raises(PipelineError, match=r"^seal ended with exit status 3\.$"):
        drain(stubborn, shell("seal", "head -c 99; exit 3"))


def test_a_silent_stage_cannot_hold_up_the_report_of_another_ones_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "GRACE_SECONDS", 0.1)
    with pytest.raises(PipelineError, match=r"^seal ended with exit status 3\.$"):
        drain(shell("waits for a lock", "exec sleep 600"), shell("seal", "exit 3"))


def test_a_stage_that_stops_reading_and_calls_it_success_is_found_out() -> None:
    with pytest.raises(PipelineError, match="head stopped reading before dump had ended"):
        drain(ProcessStage("dump", ENDLESS), ProcessStage("head", ["head", "-c", "100000"]))


def test_a_function_that_leaves_input_unread_is_found_out_even_when_the_pipe_took_it_all() -> None:
    def peek(source: BinaryIO, target: BinaryIO) -> None:
        target.write(source.read(3))

    with pytest.raises(PipelineError, match="peek stopped before the end of its input"):
        drain(FunctionStage("peek", peek), source=[b"abcdef"])


def test_an_error_of_the_library_in_a_function_or_a_source_is_raised_as_it_is() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 2_000_000
        raise IntegrityError("volume 2 is missing")

    with pytest.raises(IntegrityError, match="volume 2 is missing"):
        drain(shell("open", "cat; exit 1"), source=chunks())


def test_a_strange_error_in_a_function_names_the_stage_and_the_kind() -> None:
    def fail(_source: BinaryIO, _target: BinaryIO) -> None:
        raise ValueError("odd\nthing")

    with pytest.raises(PipelineError, match=r"^digest failed: ValueError: odd; thing\.$"):
        drain(ProcessStage("dump", ENDLESS), FunctionStage("digest", fail), cat())


def test_a_broken_pipe_that_comes_from_the_network_is_a_cause_and_not_a_consequence() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(PipelineError, match="source failed: BrokenPipeError"):
        drain(shell("open", "cat; exit 1"), source=chunks())


def test_explain_turns_an_exit_status_into_a_better_error_and_accept_into_success() -> None:
    stage = shell("open", "echo bad key >&2; exit 1", explain=lambda status, said: IntegrityError(f"{status} {said.strip()}"))
    with pytest.raises(IntegrityError, match="1 bad key"):
        drain(stage)
    warned = shell("restore", "echo 3 errors >&2; exit 1", accept=(0, 1))
    drain(warned)
    assert (warned.returncode, warned.stderr_tail) == (1, "3 errors\n")


def test_what_a_program_says_becomes_one_clean_line_of_bounded_length() -> None:
    with pytest.raises(PipelineError) as caught:
        drain(shell("noisy", r"head -c 3000000 /dev/zero | tr '\0' x >&2; printf '\n\033[31mred\033[0m\r\n\nlast\n' >&2; exit 1"))
    message = str(caught.value)
    assert message.endswith("; [31mred [0m; last.")
    assert len(message) < 700
    assert not [letter for letter in message if ord(letter) < 32]


def test_standard_error_is_read_all_the_time_and_only_its_end_is_kept() -> None:
    stage = shell("noisy", "head -c 5000000 /dev/zero >&2; echo end >&2; echo out")
    assert drain(stage) == b"out\n"
    assert len(stage.stderr_tail) == 64 * 1024
    assert stage.stderr_tail.endswith("end\n")


# --- leaving early


class Distress(Exception):
    pass


@pytest.mark.parametrize("make", [lambda: cat(), lambda: Counter("counter")])
def test_an_exception_of_the_consumer_goes_up_and_takes_everything_down(make: Any) -> None:
    with pytest.raises(Distress), Pipeline([ProcessStage("dump", ENDLESS), make(), make()]) as stream:
        for _chunk in stream:
            raise Distress


def test_functions_alone_end_too_when_the_consumer_leaves() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(100_000)

    with pytest.raises(Distress), Pipeline([Counter()], endless()) as stream:
        for _chunk in stream:
            raise Distress


def test_leaving_the_loop_early_is_never_success() -> None:
    with (
        pytest.raises(PipelineError, match=r"the reader stopped reading before dump had ended"),
        Pipeline([ProcessStage("dump", ENDLESS)]) as stream,
    ):
        for _chunk in stream:
            break
    with pytest.raises(PipelineError, match=r"the output of cat was not read to its end"), Pipeline([cat()], [b"short"]) as stream:
        for _chunk in stream:
            break


def test_the_iteration_itself_raises_at_the_end_of_a_cut_stream() -> None:
    with pytest.raises(PipelineError, match="dump ended with exit status 3"), Pipeline([shell("dump", "echo half; exit 3")]) as stream:
        chunks: list[bytes] = []
        with pytest.raises(PipelineError, match="dump ended with exit status 3"):
            chunks.extend(stream)
        assert not chunks or chunks == [b"half\n"]


def test_kill_from_another_thread_ends_the_reading_and_finish_says_so() -> None:
    with (
        pytest.raises(PipelineError, match=r"stopped before its end"),
        Pipeline([shell("silent", "exec sleep 600"), cat()]) as stream,
    ):
        watchdog = threading.Timer(0.05, stream.kill)
        watchdog.start()
        try:
            list(stream)
        finally:
            watchdog.join()


def test_kill_is_final_and_may_be_repeated() -> None:
    stream = Pipeline([ProcessStage("dump", ENDLESS)])
    stream.start()
    stream.kill()
    stream.kill()
    with pytest.raises(PipelineError, match="stopped"):
        stream.finish()


@pytest.mark.parametrize("position", range(3))
def test_a_missing_program_leaves_nothing_of_the_others(position: int) -> None:
    stages_: list[pipeline.Stage] = [ProcessStage("dump", ENDLESS), cat()]
    stages_.insert(position, ProcessStage("zstd", ["/nowhere/zstd"]))
    with pytest.raises(MissingTool, match=r"the program zstd was not found \(/nowhere/zstd\)"):
        drain(*stages_)


def test_a_program_that_may_not_be_run_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("text")
    with pytest.raises(PipelineError, match="tool could not start"):
        drain(ProcessStage("tool", [str(tmp_path / "tool")]))
    with pytest.raises(PipelineError, match=r"cat could not start: no such directory \(/nowhere\)"):
        drain(ProcessStage("cat", ["cat"], cwd="/nowhere"))


def test_what_a_program_left_behind_is_ended_with_it_and_cannot_hold_up_the_end() -> None:
    stage = shell("wrapper", "sleep 600 </dev/null >/dev/null & echo $!")
    left = int(drain(stage))
    eventually(lambda: not _alive(left), "the grandchild is gone")


@pytest.mark.parametrize("stderr", ["echo said >&2", "exec 2>/dev/null"])
def test_what_a_program_left_behind_may_finish_its_writing(stderr: str) -> None:
    after_its_end = "until grep -q ') Z' /proc/$$/stat; do :; done"
    assert len(drain(shell("wrapper", f"{{ {stderr}; {after_its_end}; head -c 3000000 /dev/zero; }} & exit 0"), cat())) == 3_000_000


def test_a_kill_signal_of_its_own_comes_first_and_sigkill_when_it_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_stage, "POLITE_SECONDS", 60.0)  # a busy machine is not impolite
    monkeypatch.setattr(pipeline, "KILL_SECONDS", 60.0)
    note = tmp_path / "note"
    polite = shell(
        "polite", f"trap 'echo cleaned > {note}; exit' TERM; echo ready; while :; do sleep 0.05; done", kill_signal=signal.SIGTERM
    )
    with pytest.raises(Distress), Pipeline([polite]) as stream:
        for _chunk in stream:
            raise Distress
    assert note.read_text() == "cleaned\n"


# --- what a process gets


def test_a_process_gets_a_minimal_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    lines = drain(ProcessStage("env", ["env"], {"PGAPPNAME": "lifeboat"})).decode().splitlines()
    assert {line.partition("=")[0] for line in lines} == {"PATH", "LC_ALL", "PGAPPNAME"}
    assert "LC_ALL=C" in lines


def test_a_process_holds_its_three_streams_and_what_was_passed_and_no_end_of_anothers_pipe() -> None:
    with open("/dev/null", "rb") as passed:
        stages_ = [ProcessStage("dump", ENDLESS, pass_fds=[passed.fileno()]), cat(), cat()]
        with pytest.raises(Distress), Pipeline(stages_) as stream:
            for _chunk in stream:
                held = [{int(entry.name) for entry in Path(f"/proc/{stage.pid}/fd").iterdir()} for stage in stages_]
                assert held[0] - {3} <= {0, 1, 2, passed.fileno()}  # cat opens /dev/zero itself
                assert held[1:] == [{0, 1, 2}, {0, 1, 2}]
                raise Distress


@pytest.mark.needs("root")
def test_a_process_can_run_as_another_user() -> None:
    assert drain(ProcessStage("id", ["id", "-u"], user="nobody", group="nogroup", extra_groups=[])) == b"65534\n"
    assert drain(ProcessStage("pwd", ["pwd"], user="nobody", group="nogroup", extra_groups=[])) == b"/\n"


# --- the surroundings


def test_two_pipelines_at_once_do_not_hold_each_other_open() -> None:
    with Pipeline([cat()], [b"one"]) as one, Pipeline([cat()], [b"two"]) as two:
        assert b"".join(one) == b"one"
        assert b"".join(two) == b"two"


def test_a_full_share_of_pipe_memory_only_makes_it_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PIPE_BYTES", 1 << 40)
    assert drain(cat(), source=[b"x" * 300_000]) == b"x" * 300_000


def _python(script: str, **more: Any) -> subprocess.Popen[bytes]:
    imports = "from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import *\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", imports + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **more
    )


def test_an_ignored_sigchld_does_not_turn_failure_into_success() -> None:
    script = "import sys\ntry: run_through([ProcessStage('dump', ['false'])], None, print)\nexcept Exception as error: sys.exit(str(error))"
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        process = _python(script)
    finally:
        signal.signal(signal.SIGCHLD, ignored)
    _output, said = process.communicate(timeout=120)
    assert b"dump ended with exit status 1" in said


def test_when_we_are_killed_the_processes_end_with_us() -> None:
    parent = _python(
        "import sys\n"
        "stages = [ProcessStage('dump', ['cat', '/dev/zero']), ProcessStage('a', ['cat']), ProcessStage('b', ['cat'])]\n"
        "with Pipeline(stages) as stream:\n"
        "    for number, chunk in enumerate(stream):\n"
        "        if number == 3:\n"
        "            print(*[stage.pid for stage in stages], flush=True)\n"
    )
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert children(parent.pid) == set(pids)
    finally:
        parent.kill()
        parent.communicate(timeout=120)
    eventually(lambda: not any(map(_alive, pids)), "the orphans are gone")


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False
