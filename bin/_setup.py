# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make what a command of bin/ needs, once, and become the command: `_setup.py [--store|--here] ENVIRONMENT COMMAND [ARGUMENT …]`.

Under .cache (or $LIFEBOAT_CACHE) lie virtual environments made from requirements/ENVIRONMENT.txt, the collection as
ansible-galaxy installs it from its built tarball, and a tool that the tests build. Each is a slot: a directory named after
the digest of what it is made from, so that a change makes a new one beside it while other runs go on in the old one.

Only the standard library: this runs before anything is installed. The first argument of the command is looked up in the
environment, and it finds itself in the checkout's folder (with --here where it was started) with PATH, PYTHONPATH and
ANSIBLE_COLLECTIONS_PATH set.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import locale
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("LIFEBOAT_CACHE") or CHECKOUT / ".cache").absolute()
COLLECTION = "ansible_collections/lifeboat/postgres"
ALWAYS_IGNORED = ("CVS", ".bzr", ".hg", ".git", ".svn", "__pycache__", ".tox", "*.pyc", "*.retry")
"""What `ansible-galaxy collection build` leaves out without being told."""

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
"""An S3 store with versions, object lock and conditional writes, for tests; a Go program."""

COLLECTIONS_OF_OTHERS = "ansible==14.5.0"
"""The one package that brings amazon.aws and community.aws, among a hundred that are not wanted."""
WANTED_OF_THEM = ("ansible_collections/amazon/aws/", "ansible_collections/community/aws/")


class SetupError(Exception):
    """What could not be made, and why, in a sentence."""


def main(arguments: Sequence[str]) -> None:
    flag = arguments[0] if arguments[0] in ("--store", "--here") else ""
    name, *command = arguments[bool(flag) :]
    environment = virtual_environment(name)
    collections = installed_collection(environment)
    programs = [environment / "bin", *(store_for_tests() if flag == "--store" else [])]
    variables = variables_for(environment, collections, programs)
    if flag == "--store":
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *map(str, collections_for_tests(environment))])
    if flag != "--here":
        os.chdir(CHECKOUT)
    program = shutil.which(command[0], path=variables["PATH"])
    if program is None:
        raise SetupError(f"the command {command[0]} is not in the environment {environment}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, command, variables)  # noqa: S606 - this is what the script is for


@dataclass(frozen=True)
class Slot:
    """A directory that one process makes and many use at the same time.

    `made_from` is everything that decides on the content; `proof` is a path inside that stands when it is usable. The
    stamp is written last, so a half-made directory never counts. Who uses it holds a shared lock to the end of the
    command (the open file survives exec), and only what nobody holds is removed.
    """

    family: str  # "environments/test-3.13": the slots that replace each other
    made_from: tuple[str, ...]
    proof: str
    label: str

    @property
    def path(self) -> Path:
        digest = hashlib.sha256("\0".join((str(CACHE), *self.made_from)).encode()).hexdigest()[:12]
        return CACHE / f"{self.family}-{digest}"

    @property
    def is_made(self) -> bool:
        return (self.path / ".made").exists() and (self.path / self.proof).exists()

    def hold(self, make: Callable[[Path], None]) -> Path:
        """The directory, made if it is not yet, and kept from removal until the command ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = _lock(self.path, fcntl.LOCK_SH)
            if self.is_made:
                os.set_inheritable(lock, True)
                return self.path
            os.close(lock)
            self._make_alone(make)

    def _make_alone(self, make: Callable[[Path], None]) -> None:
        try:
            lock = _lock(self.path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{self.label}: waiting for another run that is at it")
            lock = _lock(self.path, fcntl.LOCK_EX)
        try:
            if not self.is_made:
                _remove(self.path)
                with progress(self.label):
                    make(self.path)
                (self.path / ".made").touch()
                self._remove_predecessors()
        finally:
            os.close(lock)

    def _remove_predecessors(self) -> None:
        for other in self.path.parent.glob(f"{self.path.name.rpartition('-')[0]}-*"):
            if other == self.path or not other.is_dir():
                continue
            with contextlib.suppress(BlockingIOError):  # in use: a later run removes it
                lock = _lock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(other)
                _beside(other, "log").unlink(missing_ok=True)
                _beside(other, "lock").unlink(missing_ok=True)
                os.close(lock)


def _beside(slot: Path, suffix: str) -> Path:
    return slot.with_name(f"{slot.name}.{suffix}")


def _lock(slot: Path, how: int) -> int:
    """The open, locked lock file of a slot. Raises `BlockingIOError` where `how` says not to wait."""
    path = _beside(slot, "lock")
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, how)
        except BaseException:
            os.close(lock)
            raise
        # Whoever held it may have removed the slot together with this file: then the lock on it says nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


# --- the three things that are made ----------------------------------------------------------------------------------


def virtual_environment(name: str) -> Path:
    """The virtual environment `name` with the exact versions of requirements/`name`.txt."""
    requirements = CHECKOUT / "requirements" / f"{name}.txt"
    version = "{}.{}".format(*sys.version_info)
    slot = Slot(
        family=f"environments/{name}-{version}",
        made_from=(requirements.read_text(encoding="utf-8"),),
        proof="bin/python",
        label=f"installing the {name} environment (Python {version})",
    )

    def make(path: Path) -> None:
        run([sys.executable, "-I", "-m", "venv", str(path)], slot.path)
        pip = [str(path / "bin" / "python"), "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        run([*pip, "--requirement", str(requirements)], slot.path)

    return slot.hold(make)


def installed_collection(environment: Path) -> Path:
    """The folder for ANSIBLE_COLLECTIONS_PATH that holds this checkout's collection, built and installed as users have it."""
    slot = Slot(
        family="collections/lifeboat-postgres",
        made_from=tuple(source_digests()),
        proof=f"{COLLECTION}/MANIFEST.json",
        label="building and installing the collection",
    )

    def make(path: Path) -> None:
        galaxy = [str(environment / "bin" / "ansible-galaxy"), "collection"]
        variables = variables_for(environment, path, [environment / "bin"])
        with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as folder:
            run([*galaxy, "build", str(CHECKOUT), "--output-path", folder], slot.path, variables)
            (tarball,) = Path(folder).glob("*.tar.gz")
            run([*galaxy, "install", str(tarball), "--collections-path", str(path), "--offline", "--no-deps"], slot.path, variables)

    return slot.hold(make)


def store_for_tests() -> list[Path]:
    """The folder of versitygw, built where Go is installed; else nothing, and the tests count what they could not run."""
    slot = Slot("tools/versitygw", (VERSITYGW,), "versitygw", "building the S3 store versitygw for the tests (about a minute)")
    go = shutil.which("go")
    if shutil.which("versitygw") or (go is None and not slot.is_made):
        return []

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="go-", dir=path.parent) as folder:
            own = {
                "GOBIN": str(path),
                "GOPATH": f"{folder}/path",
                "GOCACHE": f"{folder}/cache",
                "GOFLAGS": "-modcacherw",
                "CGO_ENABLED": "0",
            }
            run([str(go), "install", VERSITYGW], slot.path, {**os.environ, **own})

    try:
        return [slot.hold(make)]
    except SetupError as error:
        say(f"{error}\nThe tests that need versitygw cannot run.")
        return []


def collections_for_tests(environment: Path) -> list[Path]:
    """The folder with amazon.aws and community.aws, as a user of the role `store` has them; else nothing, and the tests say so.

    Ansible looks for collections along PYTHONPATH as well. Their wheel is taken apart rather than installed: it is half a gigabyte.
    """
    proof = f"{WANTED_OF_THEM[0]}MANIFEST.json"
    slot = Slot("collections/amazon-aws", (COLLECTIONS_OF_OTHERS, *WANTED_OF_THEM), proof, "fetching amazon.aws for the tests")
    pip = [str(environment / "bin" / "python"), "-I", "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--quiet"]

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="wheel-", dir=path.parent) as folder:
            # No code of it runs here, so it may be made for another Python than this one.
            only = ["--no-deps", "--no-cache-dir", "--ignore-requires-python", "--only-binary", ":all:", "--dest", folder]
            run([*pip, *only, COLLECTIONS_OF_OTHERS], slot.path)
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(path, [name for name in archive.namelist() if name.startswith(WANTED_OF_THEM)])

    try:
        return [slot.hold(make)]
    except SetupError as error:
        say(f"{error}\nThe tests that need amazon.aws cannot run.")
        return []


# --- what the collection is made from --------------------------------------------------------------------------------


def source_digests() -> Iterator[str]:
    """Name, mode and digest of each file that goes into the tarball, in order."""
    yield from (f"{path} {(CHECKOUT / path).stat().st_mode:o} {_digest(CHECKOUT / path)}" for path in ["galaxy.yml", *source_files()])


def source_files() -> list[str]:
    """The paths, relative to the checkout, that `ansible-galaxy collection build` packs: all but the ignored."""
    patterns = [*ALWAYS_IGNORED, "galaxy.yml", *build_ignore()]
    found: list[str] = []
    for folder, folders, files in os.walk(CHECKOUT):
        relative = Path(folder).relative_to(CHECKOUT)
        folders[:] = [name for name in folders if not _is_ignored(str(relative / name), patterns) and name not in ALWAYS_IGNORED]
        found += [str(relative / name) for name in files if not _is_ignored(str(relative / name), patterns)]
    return sorted(found)


def build_ignore() -> list[str]:
    """The list `build_ignore` of galaxy.yml, whose items are plain or quoted words (a test reads it with a YAML parser, too)."""
    lines = (CHECKOUT / "galaxy.yml").read_text(encoding="utf-8").partition("\nbuild_ignore:\n")[2].splitlines()
    items: list[str] = []
    for line in lines:
        item = re.fullmatch(r"  - \"?([^\"]+)\"?", line)
        if item is None:
            break
        items.append(item.group(1))
    return items


def _is_ignored(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- running things --------------------------------------------------------------------------------------------------


def variables_for(environment: Path, collections: Path, programs: Sequence[Path]) -> dict[str, str]:
    """The environment variables under which everything runs: of the person's own only what cannot change a result."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONSAFEPATH")}
    configuration = CACHE / "ansible.cfg"
    if not configuration.exists():
        configuration.write_text("# Empty on purpose: a run here does not depend on the ansible.cfg of a person.\n", encoding="utf-8")
    variables |= {
        "PATH": os.pathsep.join([*map(str, programs), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(environment),
        "PYTHONPATH": str(collections),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_HOME": str(CACHE / "ansible"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"),
        "LIFEBOAT_CACHE": str(CACHE),
    }
    return variables | utf8_locale()


def utf8_locale() -> dict[str, str]:
    """What to add where the person's locale is not UTF-8 or is not installed, with which Ansible refuses to start."""
    try:
        locale.setlocale(locale.LC_ALL, "")
        usable = locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"
    except locale.Error:
        usable = False
    if usable:
        return {}
    return {"LC_ALL": "C.UTF-8" if sys.platform.startswith("linux") else "en_US.UTF-8"}


def run(command: Sequence[str], slot: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run a step of making `slot`; its output goes to a log beside it. Raises `SetupError` with the end of that log."""
    log = _beside(slot, "log")
    with log.open("wb") as output:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=variables, check=False
        ).returncode
    if status:
        tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-12:])
        raise SetupError(f"`{' '.join(command)}` ended with exit status {status}:\n{tail}\n(all of it: {log})")


@contextlib.contextmanager
def progress(label: str) -> Iterator[None]:
    """A line that says what is being made and, afterwards, how many seconds it took."""
    started = time.monotonic()
    say(f"{label} …")
    yield
    say(f"{label}: {time.monotonic() - started:.0f} s")


def say(text: str) -> None:
    print(f"lifeboat: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (SetupError, OSError) as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
