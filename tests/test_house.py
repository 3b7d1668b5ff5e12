"""The house as a whole: its tools are content, its doors are few, its pages lead somewhere."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHELL = ["gpu_configs/*.sh", "dockerfiles/*.sh", "benchmarks/*.sh", ".ci/run"]
BIN = Path(sys.executable).parent


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows and that are still there; outside a checkout there are none to judge."""
    listing = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", *patterns], capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def is_content(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_ruff_finds_nothing():
    is_content(BIN / "ruff", "check", ".")


def test_ruff_would_format_nothing():
    is_content(BIN / "ruff", "format", "--check", ".")


def test_mypy_finds_nothing():
    is_content(BIN / "mypy")


def test_rooms_import_only_rooms_below_them():
    is_content(BIN / "lint-imports")


@pytest.mark.parametrize("pattern", SHELL)
def test_shellcheck_finds_nothing(pattern):
    scripts = sorted(ROOT.glob(pattern))
    assert scripts
    is_content(BIN / "shellcheck", "-x", *scripts)


def imported(file: Path) -> Iterator[str]:
    """Names of the modules that a file imports, by statement or by name; relative ones begin with a dot."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))


def importers(package: str) -> set[str]:
    return {
        str(file.relative_to(ROOT))
        for file in (ROOT / "bench").rglob("*.py")
        if any(name.partition(".")[0] == package for name in imported(file))
    }


@pytest.mark.parametrize(
    ("package", "door"),
    [
        ("docker", "bench/launch/docker.py"),
        ("pynvml", "bench/gpu/energy.py"),
        ("matplotlib", "bench/report/figures/"),
        ("seaborn", "bench/report/figures/"),
    ],
)
def test_what_is_foreign_has_one_door(package, door):
    assert importers(package)
    assert all(file.startswith(door) for file in importers(package))


@pytest.mark.parametrize("place", ["bench/simulator/driver", "workloads/job.py"])
def test_what_must_start_fast_or_travel_alone_needs_only_the_standard_library(place):
    """A relative import of one level stays in the folder."""
    files = [ROOT / place] if place.endswith(".py") else list((ROOT / place).glob("*.py"))
    names = {name for file in files for name in imported(file)}
    foreign = {name for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, ""}}
    assert not foreign
    assert not {name for name in names if name.startswith("..")}


def strings(file: Path) -> Iterator[str]:
    """The text constants of a file that are not docstrings or other bare statements."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def test_nvidia_smi_is_run_from_one_room():
    """A text that is just the tool's name is the first word of a command; the stand-in is the tool itself."""
    users = {
        file.relative_to(ROOT).parts[1]
        for file in (ROOT / "bench").rglob("*.py")
        if "driver" not in file.parts and any(text == "nvidia-smi" for text in strings(file))
    }
    assert users == {"gpu"}


def test_only_the_clock_reads_time_or_sleeps():
    """The simulated tools, of another process, live in real time; wall-clock labels come from bench.clock, too."""
    users = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "bench").rglob("*.py")
        if "driver" not in file.parts and "time" in set(imported(file))
    }
    assert users <= {"bench/clock.py", "bench/launch/host.py"}


PRIVATE = re.compile(
    r"/(?:work|root|home/\w+|Users/\w+)/(?!\.\.\.)[\w.-]+|/tmp/wt/"  # paths of somebody's machine
    r"|https?://[^\s/\"')>]*(?:pypi|artifact|nexus|mirror|proxy)[^\s\"')>]*"  # where somebody's packages came from
)
NOBODYS_HOME = ("/work/job", "/root/tools")  # inside a container; the process of a public sample


def test_no_file_tells_whose_machine_it_was_made_on():
    told = [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}"
        for path in tracked()
        if path.suffix not in {".png", ".pdf", ".parquet"} and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := PRIVATE.search(line)) and not found[0].startswith(NOBODYS_HOME)
    ]
    assert not told


def headings(page: Path) -> set[str]:
    """Anchors of a page, as code hosts make them from its headings."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere():
    broken = []
    for page in tracked("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (page.parent / name) if name else page
            if not there.exists() or (anchor and there.suffix == ".md" and anchor not in headings(there)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_names_on_pages_are_in_the_file_that_they_link_to_and_tests_exist():
    tests = "".join(path.read_text(encoding="utf-8") for path in tracked("tests/*.py"))
    lost = []
    for page in tracked("*.md"):
        text = page.read_text(encoding="utf-8")
        lost += [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests]
        for name, target in re.findall(r"\[`(\w+)`\]\(([^)\s]+\.py)\)", text):
            code = (page.parent / target).read_text(encoding="utf-8")
            if not re.search(rf"\b(?:def|class) {name}\b|^ *{name}(?::| =)", code, re.MULTILINE):
                lost.append(f"{page.relative_to(ROOT)}: {name} in {target}")
    assert not lost


def test_every_dependency_is_explained_and_nothing_else():
    project = PROJECT["project"]
    listed = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    wanted = {re.split(r"[<>=!~ \[]", text)[0] for text in listed}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| ([\w-]+) \|", page, re.MULTILINE)) - {"package"}
    assert explained == wanted


@pytest.mark.parametrize("ignored", ["uv.lock", ".venv/x", "results/some-run/run.json"])
def test_a_run_does_not_make_the_checkout_dirty(ignored):
    tracked("pyproject.toml")
    assert subprocess.run(["git", "-C", ROOT, "check-ignore", "-q", ignored], check=False).returncode == 0


def test_shipped_measurements_are_not_ignored():
    tracked("pyproject.toml")
    shipped = subprocess.run(
        ["git", "-C", ROOT, "check-ignore", "-q", "results/reference/x/run.json"], check=False
    )
    assert shipped.returncode == 1
