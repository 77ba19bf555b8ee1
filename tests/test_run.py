"""run.py from outside: a small project, tools that note how they are called, no network."""

import ast
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
RUN = (REPOSITORY / "run.py").read_text()
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # has venv, and mostly pip

UV = """#!{python}
import os, subprocess, sys, time
with open("{calls}", "a") as calls:
    print(*sys.argv[1:], file=calls)
    print("index", os.environ.get("UV_DEFAULT_INDEX"), file=calls)
if sys.argv[1] == "venv":
    subprocess.run([{python!r}, "-m", "venv", "--without-pip", sys.argv[-1]], check=True)
elif {install!r} == "hangs":
    time.sleep(60)
elif {install!r} == "fails":
    sys.exit("no such index")
"""
# As on a bare Debian: `python3 -m venv` stops half-way where ensurepip is missing.
VENV_WITHOUT_ENSUREPIP = """
import os, runpy, sys
if "--without-pip" not in sys.argv:
    os.makedirs(sys.argv[-1] + "/bin")
    sys.exit("ensurepip is not available")
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
runpy.run_module("venv", run_name="__main__")
"""
BACKEND = """
import sys, time
try:
    print("backend", *sys.argv[1:], flush=True)
    time.sleep(60 if sys.argv[1] == "serve" else 0)
except KeyboardInterrupt:
    sys.exit(0)
sys.exit(7 if "--keep" in sys.argv else 0)
"""
PYTEST = 'import os, sys\nprint("pytest", *sys.argv[1:], os.environ.get("TASCO_TEST_ECHO_URL"))'
SERVICE = """
import pathlib, sys
alive = pathlib.Path(".services/alive")
if sys.argv[1] == "start":
    alive.touch()
if sys.argv[1] == "stop":
    alive.unlink()
if sys.argv[1] == "env" and alive.exists():
    print("TASCO_TEST_ECHO_URL=echo://?a=b")
"""


class Project:
    """A folder with run.py, an almost empty project, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.tools = folder / "tools"
        self.tools.mkdir(parents=True)
        self.write("run.py", RUN)
        self.write("backend/__main__.py", BACKEND)
        self.write("pytest.py", PYTEST)
        self.write("tests/test_some.py", "")
        self.write("benchmarks/start.py", '"""Time of a start."""\nprint("timed")')
        self.write(".ci/services/echo.py", SERVICE)
        for name in ("requirements", "requirements-dev", "requirements-services", "constraints"):
            self.write(f"{name}.txt", "")
        self.environment = {
            "PATH": str(self.tools),
            "HOME": str(folder),
            "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # nobody listens there
            "PIP_RETRIES": "0",
        }

    @property
    def stamps(self) -> set[str]:
        return {stamp.name for stamp in (self.root / ".venv").glob("*.stamp")}

    @property
    def uv_calls(self) -> list[str]:
        calls = self.tools / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def offer_uv(self, *, install: str = "works") -> None:
        calls, uv = self.tools / "calls", self.tools / "uv"
        uv.write_text(UV.format(python=BASE_PYTHON, calls=calls, install=install))
        uv.chmod(0o755)

    def hide_ensurepip(self) -> None:
        self.write("broken/venv.py", VENV_WITHOUT_ENSUREPIP)
        self.environment["PYTHONPATH"] = str(self.root / "broken")

    def start(self, *arguments: str, python: str = BASE_PYTHON) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603, our own run.py
            [python, str(self.root / "run.py"), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, python: str = BASE_PYTHON) -> "subprocess.CompletedProcess[str]":
        with self.start(*arguments, python=python) as process:
            written, complained = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, written, complained)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Background jobs of a shell are born deaf to interrupts, and so would be what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def with_uv(project: Project) -> Project:
    project.offer_uv()
    return project


def needs_pip() -> None:
    if not succeeds(BASE_PYTHON, "-m", "pip", "--version"):
        pytest.skip("the interpreter these tests run on has no pip")


def older_pythons() -> list[str]:
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.[6-9].*/bin/python"))
    on_path = [shutil.which(f"python3.{minor}") for minor in (6, 7, 8, 9)]
    found = [python for python in (*map(str, pyenv), *on_path) if python]
    return [python for python in found if succeeds(python, "-c", "")]  # a shim may stand for none


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603, ours


def test_the_syntax_is_that_of_python_3_6() -> None:
    ast.parse(RUN, feature_version=(3, 6))

    assert "__future__" not in RUN  # 3.6 does not know annotations


def test_an_old_interpreter_answers_with_a_sentence(project: Project) -> None:
    pythons = older_pythons()
    if not pythons:
        pytest.skip("no Python 3.6 to 3.9 on this machine")

    for python in pythons:
        done = project.run("demo", python=python)

        assert done.returncode == 1
        assert "TASCO runs on Python 3.11 or 3.12; this is Python 3." in done.stderr
        assert "sudo apt install python3.12 || sudo apt install python3.11" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_old_interpreter_hands_over_to_a_suitable_one_on_path(with_uv: Project) -> None:
    pythons = older_pythons()
    if not pythons:
        pytest.skip("no Python 3.6 to 3.9 on this machine")
    name = "python{}.{}".format(*sys.version_info)
    (with_uv.tools / name).symlink_to(BASE_PYTHON)

    done = with_uv.run("demo", "--port", "8001", python=pythons[0])

    assert done.stdout == "backend demo --port 8001\n"


def test_the_first_start_installs_and_the_second_installs_nothing(with_uv: Project) -> None:
    first = with_uv.run("demo", "--port", "8001")
    calls = with_uv.uv_calls
    began = time.monotonic()
    second = with_uv.run("demo", "--port", "8001")
    overhead_s = time.monotonic() - began

    assert first.stdout == second.stdout == "backend demo --port 8001\n"
    assert "Setting up the environment in .venv ... done in" in first.stderr
    assert second.stderr == ""
    assert any(call.startswith("pip install") and "constraints.txt" in call for call in calls)
    assert with_uv.uv_calls == calls
    assert overhead_s < 2  # about 0.1 on an idle machine


def test_arguments_and_exit_status_pass_through(with_uv: Project) -> None:
    done = with_uv.run("demo", "--keep", "--host", "0.0.0.0", "--i-know")  # noqa: S104, not bound

    assert done.stdout == "backend demo --keep --host 0.0.0.0 --i-know\n"
    assert done.returncode == 7


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_changed_requirements_are_installed(with_uv: Project, name: str) -> None:
    with_uv.run("demo")
    calls = with_uv.uv_calls
    with_uv.write(name, "# a newer version\n")

    done = with_uv.run("demo")

    assert "done in" in done.stderr
    new_calls = with_uv.uv_calls[len(calls) :]
    assert not any(call.startswith("venv") for call in new_calls)
    assert any(call.startswith("pip install") for call in new_calls)


def test_the_tools_come_with_the_tests_and_include_the_run_time_packages(
    with_uv: Project,
) -> None:
    with_uv.run("demo")
    assert with_uv.stamps == {"requirements.stamp"}

    with_uv.run("test")

    assert with_uv.stamps == {"requirements.stamp", "requirements-dev.stamp"}
    assert with_uv.run("demo").stderr == ""


def test_changed_tools_do_not_hold_up_the_demo(with_uv: Project) -> None:
    with_uv.run("test")
    with_uv.write("requirements-dev.txt", "# a newer version\n")

    assert with_uv.run("demo").stderr == ""
    assert "done in" in with_uv.run("test").stderr


def test_going_back_to_older_requirements_installs_them_again(with_uv: Project) -> None:
    with_uv.run("test")
    with_uv.write("requirements.txt", "# a newer version\n")
    with_uv.run("demo")
    with_uv.write("requirements.txt", "")

    assert "done in" in with_uv.run("test").stderr


def test_an_environment_whose_python_is_gone_is_made_anew(with_uv: Project) -> None:
    with_uv.run("demo")
    python = with_uv.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")

    done = with_uv.run("demo")

    assert done.stdout == "backend demo\n"
    assert sum(call.startswith("venv") for call in with_uv.uv_calls) == 2


def test_an_interrupted_install_leaves_no_stamp_and_is_made_anew(project: Project) -> None:
    project.offer_uv(install="hangs")
    process = project.start("demo")
    wait_until((project.root / ".venv" / "unfinished").exists)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 130
    assert project.stamps == set()
    project.offer_uv()
    left_over = project.write(".venv/left-over", "")
    assert project.run("demo").stdout == "backend demo\n"
    assert not left_over.exists()


def test_two_first_starts_at_once_set_up_once(with_uv: Project) -> None:
    processes = [with_uv.start("demo") for _ in range(3)]
    for process in processes:
        written, _ = process.communicate(timeout=60)
        assert written == "backend demo\n"

    assert [call.split()[0] for call in with_uv.uv_calls] == ["venv", "index", "pip", "index"]


def test_uv_is_told_the_package_index_meant_for_pip(with_uv: Project) -> None:
    with_uv.run("demo")

    assert "index http://127.0.0.1:9/simple" in with_uv.uv_calls


def test_a_package_index_meant_for_uv_wins(with_uv: Project) -> None:
    with_uv.environment["UV_INDEX_URL"] = "http://127.0.0.1:9/other"

    with_uv.run("demo")

    assert set(with_uv.uv_calls) >= {"index None"}


def test_pip_installs_where_uv_cannot(project: Project) -> None:
    needs_pip()
    project.offer_uv(install="fails")

    done = project.run("demo")

    assert any(call.startswith("pip install") for call in project.uv_calls)
    assert done.stdout == "backend demo\n"


def test_without_uv_and_ensurepip_the_pip_outside_installs(project: Project) -> None:
    needs_pip()
    project.hide_ensurepip()

    done = project.run("demo")

    assert done.stdout == "backend demo\n"
    assert not (project.root / ".venv" / "bin" / "pip").exists()


def test_when_nothing_works_the_message_says_what_to_install(project: Project) -> None:
    project.write("broken/venv.py", "raise SystemExit('no venv here')")
    project.write("broken/pip.py", "raise SystemExit('no pip here')")
    project.environment["PYTHONPATH"] = str(project.root / "broken")

    done = project.run("demo")

    assert done.returncode == 1
    assert "no venv here" in done.stderr
    assert "sudo apt install python3-pip python3-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.root / ".venv").exists()


def test_ctrl_c_reaches_the_server_and_its_exit_status_comes_back(with_uv: Project) -> None:
    with_uv.run("demo")
    process = with_uv.start("serve")
    assert process.stdout is not None
    assert process.stdout.readline() == "backend serve\n"

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 0


def test_the_whole_suite_runs_in_parallel_with_coverage(with_uv: Project) -> None:
    done = with_uv.run("test", "-x")

    in_turn = "-n 2 --dist loadfile --no-loadscope-reorder"
    assert f"{in_turn} --cov --cov-report=term:skip-covered -x" in done.stdout


@pytest.mark.parametrize("choice", ["-k=plan", "tests/test_some.py", "tests/test_some.py::test_a"])
def test_chosen_tests_run_without_a_coverage_to_reach(with_uv: Project, choice: str) -> None:
    done = with_uv.run("test", choice)

    assert done.stdout == f"pytest {choice} None\n"


def test_lint_runs_every_tool_and_names_the_failed(with_uv: Project) -> None:
    with_uv.run("test")
    for tool, status in {"ruff": 0, "mypy": 1, "lint-imports": 1}.items():
        script = with_uv.write(f".venv/bin/{tool}", f"#!/bin/sh\nexit {status}\n")
        script.chmod(0o755)

    done = with_uv.run("lint")

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "$ ruff check .",
        "$ ruff format --check .",
        "$ mypy",
        "$ lint-imports",
    ]
    assert done.stderr == "failed: mypy, lint-imports\n"


def test_bench_lists_what_there_is_and_runs_one(with_uv: Project) -> None:
    assert with_uv.run("bench").stdout == "start           Time of a start.\n"
    assert with_uv.run("bench", "start", "--json").stdout == "timed\n"
    unknown = with_uv.run("bench", "stop")
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "There is no benchmark stop; there are: start\n",
    )


def test_a_service_is_announced_to_the_tests_while_it_lives(with_uv: Project) -> None:
    started = with_uv.run("services", "echo")
    written = (with_uv.root / ".services" / "env").read_text()
    seen = with_uv.run("test", "-k", "x").stdout
    stopped = with_uv.run("services", "all", "--stop")
    seen_later = with_uv.run("test", "-k", "x").stdout

    assert started.stdout == "export TASCO_TEST_ECHO_URL=echo://?a=b\n"
    assert written == "TASCO_TEST_ECHO_URL=echo://?a=b\n"
    assert seen == "pytest -k x echo://?a=b\n"
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert seen_later == "pytest -k x None\n"


def test_a_service_that_does_not_start_is_a_failure(with_uv: Project) -> None:
    with_uv.write(".ci/services/echo.py", "raise SystemExit('port taken')")

    done = with_uv.run("services", "echo")

    assert done.returncode == 1
    assert "port taken" in done.stderr
    assert "The service echo did not start." in done.stderr


def test_an_unknown_service_is_refused_with_the_known_ones(with_uv: Project) -> None:
    done = with_uv.run("services", "oracle")

    assert done.returncode == 1
    assert done.stderr == "usage: run.py services echo | all [--stop]\n"


def test_doctor_says_what_is_missing(project: Project) -> None:
    done = project.run("doctor")

    assert done.returncode == 1
    assert "environment  .venv, run-time missing, development missing" in done.stdout
    assert "python3 run.py demo sets it up" in done.stderr


def test_doctor_goes_on_into_the_environment(with_uv: Project) -> None:
    with_uv.run("demo")

    done = with_uv.run("doctor")

    assert "run-time ready, development missing" in done.stdout
    assert done.stdout.endswith("backend doctor\n")


@pytest.mark.parametrize("asking", [[], ["help"], ["--help"], ["-h"]])
def test_help_lists_the_verbs(project: Project, asking: list[str]) -> None:
    done = project.run(*asking)

    verbs = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert verbs == ["demo", "test", "serve", "lint", "bench", "services", "doctor", "help"]
    assert done.returncode == 0


def test_an_unknown_verb_is_refused(project: Project) -> None:
    done = project.run("deploy")

    assert done.returncode == 1
    assert done.stderr == "There is no command deploy; python3 run.py help lists them.\n"


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
