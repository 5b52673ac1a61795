# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole streams through the real programs and their libraries: memory that does not grow, and a kill of each in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, PipelineError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import FunctionStage, Pipeline, ProcessStage, Stage
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, sealer
from support.keys import KeyPair, age_pair
from support.leaks import leaves_nothing

pytestmark = pytest.mark.needs("program:age", "program:age-keygen", "program:zstd", "library:pyrage", "library:zstandard")

GIB = 1 << 30
NOISE = ["cat", "/dev/urandom"]

# Its own process, because what is measured is its peak. VmHWM instead of getrusage: that one remembers the parent's size.
MEASURED = """
import hashlib, json, random, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Counter, run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, sealer

way, recipient, identity, size, kind = sys.argv[1:]
blocks = [random.Random(seed).randbytes(1 << 20) if kind == "noise" else bytes(1 << 20) for seed in range(8)]
sent, received = hashlib.sha256(), hashlib.sha256()

def chunks():
    for number in range(int(size) >> 20):
        sent.update(blocks[number % 8])
        yield blocks[number % 8]

counter = Counter("plain")
stages = [counter, compress.compressor(prefer=way), sealer({"recipients": [recipient]}, way).stage(),
          opener("age", identity, way).stage(), compress.decompressor(prefer=way)]
run_through(stages, chunks(), received.update)
peak = next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"same": sent.digest() == received.digest(), "size": counter.size_bytes, "peak_megabytes": peak}))
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return age_pair(tmp_path_factory.mktemp("key") / "identity")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["noise", "zeros"])
@pytest.mark.parametrize("way", ["program", "library"])
def test_a_gibibyte_there_and_back_takes_bounded_memory(key: KeyPair, way: str, kind: str) -> None:
    argv = [sys.executable, "-c", MEASURED, way, key.public, key.path, str(GIB), kind]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    measured = json.loads(subprocess.run(argv, env=environment, capture_output=True, check=True, timeout=1800).stdout)
    assert measured["same"]
    assert measured["size"] == GIB
    # The libraries' own working memory, for both directions at once, is in our process: about 100 MB there, 50 MB back.
    assert measured["peak_megabytes"] < (120 if way == "program" else 200), measured


@pytest.mark.parametrize("victim", [0, 1, 2, 3, 4])
def test_whichever_program_is_killed_midway_is_named(key: KeyPair, victim: int) -> None:
    stages: list[Stage] = [ProcessStage("pg_dump", NOISE), compress.compressor(), sealer({"recipients": [key.public]}).stage()]
    stages += [opener("age", key.path).stage(), compress.decompressor()]
    target = stages[victim]
    assert isinstance(target, ProcessStage)
    with leaves_nothing(), pytest.raises(PipelineError) as caught, Pipeline(stages) as stream:
        for number, _chunk in enumerate(stream):
            if number == 20:
                os.kill(target.pid or 0, signal.SIGKILL)
    assert caught.value.what == f"{target.name} was killed by signal 9 (SIGKILL)"


@pytest.mark.parametrize("victim", [0, 4])
def test_between_libraries_too(key: KeyPair, victim: int) -> None:
    stages: list[Stage] = [ProcessStage("pg_dump", NOISE), compress.compressor(prefer="library")]
    stages += [
        sealer({"recipients": [key.public]}, "library").stage(),
        opener("age", key.path, "library").stage(),
        ProcessStage("tar", ["cat"]),
    ]
    target = stages[victim]
    assert isinstance(target, ProcessStage)
    with leaves_nothing(), pytest.raises(PipelineError) as caught, Pipeline(stages) as stream:
        for number, _chunk in enumerate(stream):
            if number == 5:
                os.kill(target.pid or 0, signal.SIGKILL)
    assert caught.value.what == f"{target.name} was killed by signal 9 (SIGKILL)"


def test_a_library_that_fails_midway_is_named(key: KeyPair) -> None:
    def fail(source: object, _target: object) -> None:
        source.read(1000)  # type: ignore[attr-defined]
        raise LifeboatError("midway")

    stages: list[Stage] = [ProcessStage("pg_dump", NOISE), compress.compressor(prefer="library"), FunctionStage("count", fail)]
    stages.append(sealer({"recipients": [key.public]}, "library").stage())
    with leaves_nothing(), pytest.raises(LifeboatError, match="midway"), Pipeline(stages) as stream:
        list(stream)


def test_what_a_killed_dump_left_is_sealed_and_compressed_well_and_still_no_backup(key: KeyPair, tmp_path: Path) -> None:
    """The trap of the shell pipe: the sealed file is valid to the last byte, and holds a part of the data."""
    dump = ProcessStage("pg_dump", NOISE)
    sealed = tmp_path / "sealed"
    stages: list[Stage] = [dump, compress.compressor(), sealer({"recipients": [key.public]}).stage()]
    with sealed.open("wb") as file, pytest.raises(PipelineError, match="pg_dump was killed"), Pipeline(stages) as stream:
        for chunk in stream:
            file.write(chunk)
            if file.tell() > 2_000_000 and dump.returncode is None:
                os.kill(dump.pid or 0, signal.SIGKILL)
    with Pipeline([opener("age", key.path).stage(), compress.decompressor()], [sealed.read_bytes()]) as stream:
        assert sum(map(len, stream)) > 1_000_000
