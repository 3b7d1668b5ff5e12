"""LaTeX: every table escapes what it holds, is whole and balanced; methods cite what the bibliography has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic import PLAN, Fate, Recipe, make_run

from bench.plan.schedule import Trial
from bench.report.latex import escaped, table_tex
from bench.report.table import Source, Table, headings
from bench.report.write import write_report
from bench.store.record import Status
from bench.store.run_folder import RunFolder

SPECIAL = r"100 % of $x_1^2$ & {a}\b ~ #1 <p> | “q” " + "\N{MULTIPLICATION SIGN}∞ 混"
EXTREME = ("a_b & 50% $x$ #1 {\\frac}", "混合 \\input{x}", "[" + "ab" * 99 + "]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with names that LaTeX would choke on, and with a failed trial."""
    mixes = "".join(f"  {json.dumps(name)}: [resnet50-training, bert-base-training]\n" for name in EXTREME)

    def status(trial: Trial) -> Fate:
        fails = trial.block == 2 and trial.mode.mode == "mps"
        return (Status.FAILED, "50% of \\memory_gb & {more}") if fails else (Status.OK, None)

    plan = PLAN.replace("mixes: {pair: [resnet50-training, bert-base-training]}\n", f"mixes:\n{mixes}")
    run = make_run(tmp_path_factory.mktemp("latex"), Recipe(plan_text=plan.replace("6", "2"), status=status))
    write_report(run)
    return run


def test_special_letters_are_escaped() -> None:
    assert escaped(SPECIAL) == (
        r"100 \% of \$x\_1\textasciicircum{}2\$ \& \{a\}\textbackslash{}b \textasciitilde{} \#1 "
        r"\textless{}p\textgreater{} \textbar{} ``q'' $\times$$\infty$ \texttt{U+6DF7}"
    )
    assert escaped("a\nb\\input{x}") == r"a b\textbackslash{}input\{x\}"


@pytest.mark.parametrize("rows", [1, 60])
def test_every_row_has_a_cell_for_every_column(rows: int) -> None:
    table = Table("T", headings(("mix", "a & b"), ("n",)), Source("tables/levels.csv", ("mix",)))
    for row in range(rows):
        table.add(f"x & {row}", "long text " * 9, "1")
    tex = table_tex(table, "t", "SIMULATED")
    body = [line for line in tex.splitlines() if line.endswith(r"\\") and " & " in line]
    assert len(body) == rows + (1 if rows == 1 else 2)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
    assert r"\toprule" in tex and r"\midrule" in tex and r"\bottomrule" in tex
    assert r"\caption{{[}SIMULATED{]} T." in tex


def test_environments_and_braces_of_every_file_are_balanced(run: RunFolder) -> None:
    files = list(run.report_folder.rglob("*.tex"))
    assert len(files) >= 8
    for file in files:
        text = file.read_text(encoding="utf-8")
        open_: list[str] = []
        for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
            if kind == "begin":
                open_.append(name)
            else:
                assert open_.pop() == name
        assert open_ == []
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")
        assert not re.search("[^\x00-\xff]", text)


def test_every_table_of_the_page_is_there_and_in_the_document(run: RunFolder) -> None:
    document = (run.report_folder / "report.tex").read_text(encoding="utf-8")
    names = {file.stem for file in (run.report_folder / "tables").glob("*.tex")}
    assert set(re.findall(r"\\input\{tables/([^}]*)\}", document)) == names
    assert {"what-to-take", "primary-contrasts", "trials-that-are-not-ok"} <= names


def test_methods_have_this_runs_numbers_and_cite_only_what_the_bibliography_has(run: RunFolder) -> None:
    methods = (run.report_folder / "methods.tex").read_text(encoding="utf-8")
    assert "2 blocks in random order (seed 1)" in methods
    assert "3 failed" in methods
    keys = {key for keys in re.findall(r"\\cite\{([^}]*)\}", methods) for key in keys.split(",")}
    bibliography = (run.report_folder / "references.bib").read_text(encoding="utf-8")
    assert keys
    assert keys == set(re.findall(r"^@\w+\{(\w+),", bibliography, re.MULTILINE))


def test_rebuilding_gives_the_same_bytes(run: RunFolder) -> None:
    def contents() -> dict[str, bytes]:
        kinds = ("*.tex", "*.bib", "tables/*.tex", "tables/*.csv", "report.md")
        return {str(file): file.read_bytes() for kind in kinds for file in run.report_folder.glob(kind)}

    first = contents()
    write_report(run)
    assert contents() == first


def test_an_interval_without_the_number_of_blocks_is_refused() -> None:
    table = Table("T", headings(("mix",), ("STP",)), Source("tables/levels.csv", ("mix",)))
    with pytest.raises(ValueError, match="number of blocks"):
        table.interval(1.0, 0.9, 1.1)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_the_document_compiles(run: RunFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(run.report_folder, tmp_path / "report")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
