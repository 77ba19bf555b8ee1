#!/usr/bin/env python3
"""TASCO's commands: python3 run.py demo, and no more is needed.

The first start sets up what the command needs in ./.venv; later starts install nothing. Needs
Python 3.11 or 3.12, and pip or uv. Nothing is installed outside this folder.
"""

# Written in the syntax of Python 3.6, so that an old interpreter answers with a sentence. Whatever
# runs before the suitable interpreter is found also keeps to the library of Python 3.6.

import ast
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent
BOOT = ROOT / ".boot"  # a fetched uv, a fetched Python, the lock
SUITABLE = ((3, 12), (3, 11))  # didkit has no wheel for a later Python
RUNTIME = ("requirements.txt",)
DEVELOPMENT = ("requirements.txt", "requirements-dev.txt")
SERVICES = ("requirements-services.txt",)

OLD_PYTHON = """TASCO runs on Python 3.11 or 3.12; this is Python {}.
Install one and start again:  sudo apt install python3.12 || sudo apt install python3.11
If there is no such package, install uv (https://docs.astral.sh/uv) and start again."""
NO_INSTALLER = """
Setting up failed. Does this machine reach its package index? If pip or venv is missing:
sudo apt install python3-pip python3-venv"""


class SetupFailed(Exception):
    """No way of setting up worked; the message is what the last one said."""


# The interpreter


def ensure_interpreter() -> None:
    """Start again under a suitable Python when this one is too old or too new."""
    if sys.version_info[:2] in SUITABLE:
        return
    python = find_interpreter()
    if python is None:
        sys.exit(OLD_PYTHON.format(".".join(map(str, sys.version_info[:3]))))
    os.execv(python, [python, str(ROOT / "run.py"), *sys.argv[1:]])


def find_interpreter() -> "str | None":
    """Look for a suitable Python on PATH, then among those uv knows or can fetch."""
    for version in SUITABLE:
        python = shutil.which("python{}.{}".format(*version))
        if python and version_of(python) == version:  # a pyenv shim may stand for nothing
            return python
    uv = find_uv()
    if uv is None:
        return None
    find = [uv, "python", "find", ">=3.11,<3.13"]
    here = ["env", f"UV_PYTHON_INSTALL_DIR={BOOT / 'python'}"]  # what we fetch stays in this folder
    known = output_of(find) or output_of(here + find)
    return known or (output_of(here + find) if fetch_python([*here, uv]) else None)


def fetch_python(uv: "list[str]") -> bool:
    """Let uv fetch a Python into .boot; tells whether it could."""
    with contextlib.suppress(SetupFailed), progress("Fetching Python 3.12"):
        first_that_works([[*uv, "python", "install", "--no-bin", "3.12"]], [])
        return True
    return False


def version_of(python: str) -> "tuple[int, ...] | None":
    """Ask an interpreter for its version, such as (3, 11); None when it does not start."""
    answer = output_of([python, "-c", "import sys; print('%d %d' % sys.version_info[:2])"])
    return tuple(map(int, answer.split())) if answer else None


def find_uv() -> "str | None":
    """Find uv on PATH or fetch it with pip into .boot; None when neither works."""
    fetched = BOOT / "bin" / "uv"
    uv = shutil.which("uv") or (str(fetched) if fetched.exists() else None)
    if uv is None:
        fetch = [sys.executable, "-m", "pip", "install", "--target", str(BOOT), "uv"]
        output_of(fetch + constraints())
        uv = str(fetched) if fetched.exists() else None
    return uv


# The environment


class Environment:
    """A folder of installed packages, with a stamp for each set of them that is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.unfinished = folder / "unfinished"  # exists while packages are being installed

    def is_ready(self, packages: "tuple[str, ...]") -> bool:
        """Tell whether these very packages are installed for this Python."""
        stamp = self.stamp(packages)
        return (
            self.python.exists()
            and not self.unfinished.exists()
            and stamp.exists()
            and stamp.read_text() == key_of(packages)
        )

    def is_usable(self) -> bool:
        """Tell whether packages can be added: whole, and made for this Python."""
        return (
            (self.folder / "pyvenv.cfg").exists()
            and not self.unfinished.exists()
            and version_of(str(self.python)) == sys.version_info[:2]
        )

    def stamp(self, packages: "tuple[str, ...]") -> Path:
        """Name the file that says which packages are installed."""
        return self.folder / f"{Path(packages[-1]).stem}.stamp"

    def begin(self) -> None:
        """Take the stamps away while packages change; killed now, the environment is half-made."""
        self.unfinished.touch()
        for stamp in self.folder.glob("*.stamp"):
            stamp.unlink()

    def finish(self, packages: "tuple[str, ...]") -> None:
        """Leave the stamps; a set includes the sets its first files make."""
        for count in range(1, len(packages) + 1):
            self.stamp(packages[:count]).write_text(key_of(packages[:count]))
        self.unfinished.unlink()


VENV = Environment(ROOT / ".venv")
SERVICES_VENV = Environment(ROOT / ".services" / "venv")


def key_of(packages: "tuple[str, ...]") -> str:
    """Digest the requirement files, their constraints and the Python version."""
    digest = hashlib.sha256("{}.{}".format(*sys.version_info).encode())
    for name in (*packages, "constraints.txt"):
        digest.update(b"\0" + (ROOT / name).read_bytes())
    return digest.hexdigest()


def ensure_environment(environment: Environment, packages: "tuple[str, ...]") -> str:
    """Set the environment up unless it is complete; gives the path of its Python."""
    if not environment.is_ready(packages):
        with only_one_at_a_time():
            if not environment.is_ready(packages):
                set_up(environment, packages)
    return str(environment.python)


def set_up(environment: Environment, packages: "tuple[str, ...]") -> None:
    """Make the environment unless a usable one stands, and install the packages."""
    with progress(f"Setting up the environment in {environment.folder.relative_to(ROOT)}"):
        uv = find_uv()
        if not environment.is_usable():
            make(environment, uv)
        environment.begin()
        arguments = [*requirements(packages), *constraints()]
        first_that_works(ways_to_install(environment, uv), arguments)
        environment.finish(packages)


def make(environment: Environment, uv: "str | None") -> None:
    """Make an empty environment in place of a missing, foreign or half-made one."""
    folder, failure = environment.folder, ""
    for way in ways_to_make(uv):
        shutil.rmtree(str(folder), ignore_errors=True)
        failure = failure_of([*way, str(folder)])
        if not failure:
            return
    shutil.rmtree(str(folder), ignore_errors=True)
    raise SetupFailed(failure)


def ways_to_make(uv: "str | None") -> "list[list[str]]":
    """List the commands that make an environment; a bare Debian cannot put pip into it."""
    venv = [sys.executable, "-m", "venv"]
    with_uv = [[uv, "venv", "--no-project", "--python", sys.executable]] if uv else []
    return [*with_uv, venv, [*venv, "--without-pip"]]


def ways_to_install(environment: Environment, uv: "str | None") -> "list[list[str]]":
    """List the commands that install into an environment: uv, and pip inside or outside of it."""
    python = str(environment.python)
    with_uv = [[uv, "pip", "install", "--python", python]] if uv else []
    if (environment.folder / "bin" / "pip").exists():
        return [*with_uv, [python, "-m", "pip", "install"]]
    return [*with_uv, [sys.executable, "-m", "pip", "--python", python, "install"]]


def first_that_works(ways: "list[list[str]]", arguments: "list[str]") -> None:
    """Try the commands in turn until one succeeds."""
    failure = ""
    for way in ways:
        failure = failure_of(way + arguments)
        if not failure:
            return
    raise SetupFailed(failure)


def requirements(packages: "tuple[str, ...]") -> "list[str]":
    """Spell requirement files as options of pip and uv."""
    return [word for name in packages for word in ("-r", str(ROOT / name))]


def constraints() -> "list[str]":
    """Spell the constraints as options of pip and uv."""
    return ["-c", str(ROOT / "constraints.txt")]


@contextlib.contextmanager
def only_one_at_a_time() -> "Iterator[None]":
    """Let a second start wait for the first one's setting up."""
    import fcntl

    BOOT.mkdir(exist_ok=True)
    with (BOOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Commands and what they show


def installer_variables() -> "dict[str, str]":
    """Give uv what the caller told pip about package indexes, and keep pip's remarks away."""
    variables = dict(os.environ, PIP_ROOT_USER_ACTION="ignore", PIP_DISABLE_PIP_VERSION_CHECK="1")
    if "PIP_INDEX_URL" in variables and "UV_INDEX_URL" not in variables:
        variables.setdefault("UV_DEFAULT_INDEX", variables["PIP_INDEX_URL"])
    if "PIP_CERT" in variables:
        variables.setdefault("SSL_CERT_FILE", variables["PIP_CERT"])
    return variables


def run_quietly(command: "list[str]") -> "tuple[int, str, str]":
    """Run a command; gives its exit status and what it wrote to both its outputs."""
    try:
        process = subprocess.Popen(
            command,
            env=installer_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        with process:
            written, complained = process.communicate()
    except OSError as error:
        return 1, "", str(error)
    return process.returncode, written, complained


def output_of(command: "list[str]") -> "str | None":
    """Run a command and return what it wrote; None when it failed."""
    status, written, _ = run_quietly(command)
    return written.strip() if status == 0 else None


def failure_of(command: "list[str]") -> str:
    """Run a command and return the end of what it said if it failed, else nothing."""
    status, written, complained = run_quietly(command)
    if status == 0:
        return ""
    lines = (written + complained).strip().splitlines()[-15:]
    return "\n".join([" ".join(command), *lines])


@contextlib.contextmanager
def progress(text: str) -> "Iterator[None]":
    """Say what is going on, and how long it took; on a terminal the seconds count up."""
    began, finished = time.monotonic(), threading.Event()
    is_plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ or "CI" in os.environ

    def show(state: str) -> None:
        print(state if is_plain else f"\r{text} ... {state}", end="", file=sys.stderr)
        sys.stderr.flush()

    def count() -> None:
        while not finished.wait(1):
            show(f"{time.monotonic() - began:.0f} s")

    show(f"{text} ... " if is_plain else "")
    counter = threading.Thread(target=count, daemon=True)
    if not is_plain:
        counter.start()
    state = "failed"
    try:
        yield
        state = "done"
    finally:
        finished.set()
        if not is_plain:
            counter.join()
        show(f"{state} in {time.monotonic() - began:.0f} s\n")


def become(python: str, *arguments: str, **variables: str) -> None:
    """Turn into the environment's Python: one process, so signals and exit status just work."""
    sys.stdout.flush()
    os.execve(python, [python, *arguments], dict(os.environ, **variables))


# The verbs


def demo(arguments: "list[str]") -> None:
    """API, live page and demo data on http://127.0.0.1:8000 (--port, --host, --reset, --keep)."""
    become(ensure_environment(VENV, RUNTIME), "-m", "backend", "demo", *arguments)


def serve(arguments: "list[str]") -> None:
    """The production profile, configured by .env."""
    become(ensure_environment(VENV, RUNTIME), "-m", "backend", "serve", *arguments)


def test(arguments: "list[str]") -> None:
    """The whole test suite with its coverage, or what pytest's arguments choose."""
    # Files are given out as tests/conftest.py orders them, not those with the most tests first.
    in_turn = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    whole = [*in_turn, "--cov", "--cov-report=term:skip-covered"]
    options = [] if is_a_choice(arguments) else whole
    python = ensure_environment(VENV, DEVELOPMENT)
    become(python, "-m", "pytest", *options, *arguments, **live_services())


def is_a_choice(arguments: "list[str]") -> bool:
    """Tell whether pytest's arguments choose some tests: a part cannot reach the coverage asked."""
    choosing = ("-k", "-m", "--lf", "--last-failed")
    return any(
        argument.startswith(choosing) or Path(argument.split("::")[0]).exists()
        for argument in arguments
    )


def lint(_arguments: "list[str]") -> None:
    """Style, types and import contracts: ruff, mypy, lint-imports."""
    tools = Path(ensure_environment(VENV, DEVELOPMENT)).parent
    failed = []
    for command in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
        print(f"$ {command}", flush=True)
        tool, *options = command.split()
        if subprocess.run([str(tools / tool), *options], check=False).returncode:
            failed.append(command)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def bench(arguments: "list[str]") -> None:
    """List the benchmarks, or run one: bench NAME --json."""
    scripts = {script.stem: script for script in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
    if not arguments:
        for name, script in scripts.items():
            about = ast.get_docstring(ast.parse(script.read_text())) or ""
            print(f"{name:<16}{about.splitlines()[0] if about else ''}")
        return
    if arguments[0] not in scripts:
        sys.exit(f"There is no benchmark {arguments[0]}; there are: {', '.join(scripts)}")
    python = ensure_environment(VENV, DEVELOPMENT)
    become(python, str(scripts[arguments[0]]), *arguments[1:], PYTHONPATH=str(ROOT))


def services(arguments: "list[str]") -> None:
    """Start what tests can use: services postgres, services all; with --stop, stop it."""
    offered = service_scripts()
    names = [argument for argument in arguments if argument != "--stop"]
    chosen = list(offered) if names == ["all"] else names
    if not chosen or not set(chosen) <= set(offered):
        sys.exit(f"usage: run.py services {' | '.join([*offered, 'all'])} [--stop]")
    verb = "stop" if "--stop" in arguments else "start"
    if verb == "stop" and not SERVICES_VENV.python.exists():
        return
    python = ensure_environment(SERVICES_VENV, SERVICES)
    if "superlink" in chosen and verb == "start":
        ensure_environment(VENV, RUNTIME)  # Flower is a run-time package
    for name in chosen:
        if subprocess.run([python, str(offered[name]), verb], check=False).returncode:
            sys.exit(f"The service {name} did not {verb}.")
    lines = [f"{name}={value}\n" for name, value in live_services().items()]
    (ROOT / ".services" / "env").write_text("".join(lines))
    sys.stdout.writelines(f"export {line}" for line in lines)


def service_scripts() -> "dict[str, Path]":
    """Find the services by name; each is one script that knows start, stop and env."""
    return {script.stem: script for script in sorted((ROOT / ".ci" / "services").glob("*.py"))}


def live_services() -> "dict[str, str]":
    """Collect the variables of the services that answer; the caller's own win."""
    if not SERVICES_VENV.python.exists():
        return {}
    python = str(SERVICES_VENV.python)
    answers = [output_of([python, str(script), "env"]) for script in service_scripts().values()]
    lines = "\n".join(filter(None, answers)).splitlines()
    found = {name: value for name, _, value in (line.partition("=") for line in lines)}
    return {name: os.environ.get(name, value) for name, value in found.items()}


def doctor(arguments: "list[str]") -> None:
    """What is installed, what is missing, and how the parts of the demo are."""
    print(f"python       {sys.version.split()[0]} ({sys.executable})")
    print(f"installer    {describe_installer()}")
    print(f"environment  {describe_environment()}")
    print(f"disk         {shutil.disk_usage(str(ROOT)).free / 1e9:.0f} GB free", flush=True)
    if not VENV.is_ready(RUNTIME):
        sys.exit("The environment is missing or out of date; python3 run.py demo sets it up.")
    become(str(VENV.python), "-m", "backend", "doctor", *arguments)


def describe_installer() -> str:
    """Name the installer a first start would use, with its version."""
    uv = shutil.which("uv") or str(BOOT / "bin" / "uv")
    pip = [sys.executable, "-m", "pip", "--version"]
    return output_of([uv, "--version"]) or output_of(pip) or "none: sudo apt install python3-pip"


def describe_environment() -> str:
    """Say which sets of packages are complete."""
    sets = {"run-time": VENV.is_ready(RUNTIME), "development": VENV.is_ready(DEVELOPMENT)}
    states = [f"{name} {'ready' if ready else 'missing'}" for name, ready in sets.items()]
    return f".venv, {', '.join(states)}"


def show_help(_arguments: "list[str]") -> None:
    """This text."""
    print(__doc__)
    for name, verb in VERBS.items():
        print(f"  {name:<10}{verb.__doc__}")


VERBS = {
    "demo": demo,
    "test": test,
    "serve": serve,
    "lint": lint,
    "bench": bench,
    "services": services,
    "doctor": doctor,
    "help": show_help,
}


def main() -> None:
    """Run the verb of the command line."""
    verb, arguments = (sys.argv[1:2] or ["help"])[0], sys.argv[2:]
    verb = "help" if verb in ("-h", "--help") else verb
    if verb not in VERBS:
        sys.exit(f"There is no command {verb}; python3 run.py help lists them.")
    if os.name == "nt":
        sys.exit("TASCO runs on Linux and macOS; on Windows use WSL.")
    try:
        ensure_interpreter()
        os.chdir(str(ROOT))
        VERBS[verb](arguments)
    except SetupFailed as failure:
        sys.exit(f"{failure}\n{NO_INSTALLER}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
