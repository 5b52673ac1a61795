# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check that needs no server. Each says its name, its seconds, and ok or failed; all run, whatever the others say.

Started by bin/lint inside the environment `lint`, in the checkout's folder. Arguments choose steps by a part of their name.
What concerns the collection is checked on the installed copy, that is: on what users get.
"""

from __future__ import annotations

import ast
import concurrent.futures
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ["LIFEBOAT_CACHE"])
COLLECTIONS = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"])
COLLECTION = "ansible_collections/lifeboat/postgres"
PACKAGE = COLLECTION.replace("/", ".")
THIS_PYTHON = "{}.{}".format(*sys.version_info)
HOST_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
"""What hosts may have; the modules must compile and import there."""
CONTROL_NODE = ("--python-version", "3.11")
"""For mypy: the oldest Python of what never travels to a host."""


@dataclass(frozen=True)
class Result:
    """How a step ended: whether it is content, and what it had to say."""

    ok: bool
    text: str


Step = tuple[str, Callable[[], Result]]


def main(words: Sequence[str]) -> int:
    """Run the steps, two at a time, and return the exit status: 0 when every one is content."""
    started = time.monotonic()
    steps = [step for step in all_steps() if not words or any(word in step[0] for word in words)]
    if not steps:
        print("No step has such a name. The steps: " + ", ".join(name for name, _ in all_steps()) + ".", file=sys.stderr)
        return 2
    failed: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as two_at_a_time:
        running = {two_at_a_time.submit(timed, run): name for name, run in steps}
        for done in concurrent.futures.as_completed(running):
            name = running[done]
            result, seconds = done.result()
            print(f"{'ok    ' if result.ok else 'FAILED'} {seconds:6.1f} s  {name}", flush=True)
            if not result.ok:
                failed.append(name)
                print("\n".join(f"    {line}" for line in result.text.strip().splitlines()), flush=True)
    seconds = time.monotonic() - started
    summary = f"{len(failed)} failed: {', '.join(sorted(failed))}" if failed else "all ok"
    print(f"bin/lint: {len(steps)} steps in {seconds:.0f} s, {summary}.")
    return 1 if failed else 0


def timed(run: Callable[[], Result]) -> tuple[Result, float]:
    """The step's result and its seconds."""
    started = time.monotonic()
    return run(), time.monotonic() - started


def all_steps() -> list[Step]:
    """Every step, the long ones first, so that the short ones fill up the other lane."""
    collection = str(COLLECTIONS / COLLECTION)
    return [
        (f"ansible-test sanity, Python {THIS_PYTHON}", lambda: ansible_test([THIS_PYTHON], [])),
        ("ansible-lint", command("ansible-lint", "--offline", "--strict", "--profile", "production", "--nocolor")),
        ("antsibull-docs", command("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", collection)),
        ("mypy plugins", mypy([], "-p", f"{PACKAGE}.plugins", cwd=COLLECTIONS)),
        ("mypy tests", mypy([Path("tests")], *CONTROL_NODE, "tests")),
        ("mypy molecule", mypy([Path("tests"), Path("molecule/practice/tests")], *CONTROL_NODE, "molecule/practice/tests")),
        ("mypy demo and bench", mypy([Path("demo"), Path("bench"), Path("tests")], *CONTROL_NODE, "demo", "bench")),
        ("mypy bin", mypy([], *CONTROL_NODE, "bin/_setup.py", "bin/_lint.py", "bin/_readmes.py")),
        ("ruff check", command("ruff", "check", "--cache-dir", str(CACHE / "ruff"), "--output-format", "concise", ".")),
        ("ruff format", command("ruff", "format", "--cache-dir", str(CACHE / "ruff"), "--check", "--diff", "--quiet", ".")),
        ("shellcheck", command("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *shell_scripts())),
        ("reuse", command("reuse", "lint", "--quiet", also=("reuse", "lint", "--lines"))),
        ("antsibull-changelog", command("antsibull-changelog", "lint")),
        (
            "ansible-test import and compile, other Pythons",
            lambda: ansible_test(other_pythons(), ["--test", "import", "--test", "compile"]),
        ),
    ]


def command(*argv: str, also: Sequence[str] = ()) -> Callable[[], Result]:
    """A step that is one command; `also` is asked for details when it fails quietly."""

    def run() -> Result:
        result = execute(argv)
        return result if result.ok or not also else Result(False, result.text + execute(also).text)

    return run


def execute(argv: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> Result:
    """Run to the end; content means exit status 0."""
    done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return Result(done.returncode == 0, done.stdout if done.returncode >= 0 else f"{done.stdout}\nended by signal {-done.returncode}")


def mypy(bases: Sequence[Path], *what: str, cwd: Path | None = None) -> Callable[[], Result]:
    """mypy in strict mode, with module names counted from `bases` on, and with the installed collection at hand."""
    settings = ["--config-file", str(Path("pyproject.toml").absolute()), "--cache-dir", str(CACHE / "mypy" / what[-1])]
    env = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, [COLLECTIONS, *(base.absolute() for base in bases)]))}

    def run() -> Result:
        result = execute(["mypy", "--no-error-summary", *settings, *what], cwd, env)
        return Result(result.ok, result.text.replace(f"{COLLECTION}/", ""))

    return run


def shell_scripts() -> list[str]:
    """The project's own shell scripts, known by their name or their first line."""
    folders = ("bin", ".ci", "demo", "bench", "molecule", "tests")
    candidates = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    return sorted(str(path) for path in candidates if path.suffix == ".sh" or re.match(rb"#!.*\b(ba)?sh\b", path.read_bytes()[:64]))


# --- ansible-test ------------------------------------------------------------------------------------------------------


def ansible_test(versions: Sequence[str], choice: Sequence[str]) -> Result:
    """`ansible-test sanity` for each of these Python versions, in a copy of the installed collection.

    The copy lies in the system's temporary folder: under the checkout git would be asked what belongs to it, would answer
    "nothing", and every test would pass on nothing.
    """
    texts: list[str] = []
    ok = True
    with tempfile.TemporaryDirectory(prefix="lifeboat-sanity-") as folder:
        tree = Path(folder) / COLLECTION
        shutil.copytree(COLLECTIONS / COLLECTION, tree, ignore=shutil.ignore_patterns("__pycache__"))
        if Path("tests/sanity").is_dir():
            shutil.copytree("tests/sanity", tree / "tests" / "sanity")
        env = ansible_test_variables()
        # It makes virtual environments in its home and does not expect company there.
        with (CACHE / "ansible-test.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for version in versions:
                argv = ["ansible-test", "sanity", "--color", "no", "--requirements", "--python", version, *choice]
                result = execute(argv, tree, env)
                ok = ok and result.ok and 'Running sanity test "compile"' in result.text
                texts.append(f"Python {version}:\n{_what_matters(result.text)}")
    return Result(ok, "\n".join(texts))


def _what_matters(text: str) -> str:
    lines = text.splitlines()
    return "\n".join([line for line in lines if line.startswith(("ERROR: ", "FATAL: "))] or lines[-30:])


def ansible_test_variables() -> dict[str, str]:
    """An environment with a home of its own, in which ansible-test finds what it would otherwise download."""
    home = CACHE / "ansible-test"
    write_pip_bootstrap(home / ".ansible" / "test" / "cache")
    write_pip_configuration(home / ".pip")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH", "VIRTUAL_ENV"))}
    folders = [str(path.parent) for path in host_pythons().values()]
    return {**env, "HOME": str(home), "PATH": os.pathsep.join([os.environ["PATH"].partition(os.pathsep)[0], *folders, os.environ["PATH"]])}


def write_pip_bootstrap(folder: Path) -> None:
    """Put the script that ansible-test would fetch from its makers' site: pip comes with Python, so nothing is fetched."""
    from ansible_test._internal.python_requirements import get_venv_packages  # type: ignore[import-not-found,import-untyped,unused-ignore]

    class AnyPython:
        version = THIS_PYTHON

    version = get_venv_packages(AnyPython())["pip"].replace(".", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"get_pip_{version}.py").write_text(PIP_BOOTSTRAP, encoding="utf-8")


def write_pip_configuration(folder: Path) -> None:
    """Give pip under the other home the settings it has here, from files and variables: they may name the only mirror in reach."""
    listed = [line.partition("=") for line in execute(["pip", "config", "list"]).text.splitlines() if "='" in line]
    listed.sort(key=lambda setting: setting[0].startswith(":env:"))  # a variable counts for more than a file
    settings = {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in listed}
    lines = [f"{name} = " + value.replace("\n", "\n    ") for name, value in settings.items()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")


PIP_BOOTSTRAP = """\
import runpy, subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)  # in here it would switch off pip.conf
sys.argv = ["pip", "install", "--quiet", *(word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel"))]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def other_pythons() -> list[str]:
    """The versions that hosts may have and that this machine has, besides the one that runs here."""
    return [version for version in host_pythons() if version != THIS_PYTHON]


def host_pythons() -> dict[str, Path]:
    """The Pythons found on this machine by version, also pyenv's; only what runs and can make virtual environments.

    Not the candidates' paths but what they call themselves: a pyenv shim is a script in front of the real one.
    """
    found: dict[str, Path] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path(os.path.expanduser("~")) / ".pyenv") / "versions"
    for version in HOST_PYTHONS:
        on_path = (Path(folder) / f"python{version}" for folder in os.environ["PATH"].split(os.pathsep))
        for candidate in (*on_path, *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))):
            if not candidate.exists():
                continue
            answer = execute([str(candidate), "-I", "-c", "import ensurepip, sys, venv; print(sys.executable)"])
            if answer.ok:
                found[version] = Path(answer.text.strip())
                break
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
