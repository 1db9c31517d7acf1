"""README and the other documents: every command works, every link leads somewhere."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from la.__main__ import app, main
from la.report.verdicts.finding import CLAIMS
from tests import readme

ROOT = Path(__file__).resolve().parent.parent
PAPERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# The commands that README shows without naming what they need, and the test that runs each.
RUN_BY = {
    "make setup": "test_project.py::test_setup_makes_an_environment_and_installs_once",
    "make lab": "widgets/test_lab.py::test_what_is_drawn_is_what_python_gets",
    ".venv/bin/python -m la predict": "test_readme.py::test_the_folder_command_of_the_readme",
    "make reproduce-table2": "test_make.py::test_nothing_is_made_when_nothing_changed",
    "make reproduce-table2 RECOMPUTE=1": "test_make.py::test_edited_metrics_are_recomputed",
    "make reproduce": "test_make.py::test_nothing_is_made_when_nothing_changed",
    "make setup LOCKED=1": "test_project.py::"
    "test_a_locked_environment_installs_the_lock_file_and_stays_locked",
    "make help": "test_project.py::test_make_help_lists_every_target_that_the_readme_names",
    "python -m la models": "test_main.py::test_models_are_listed_with_size_source_and_licence",
    "make test-gpu": "test_on_gpu.py::test_named_checks_run_on_a_cpu_and_write_their_figures",
    "make verify": "test_verify.py::test_a_table_that_is_made_again_passes",
    "make plan": "experiment/test_plan.py::"
    "test_a_paper_run_on_an_empty_machine_lists_all_and_stops_at_coco_first",
}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of the shell blocks, and the remark behind it."""
    lines = "".join(blocks(text, "sh")).splitlines()
    return [(line.split("#")[0].strip(), line.partition("#")[2]) for line in lines if line.strip()]


def inline(text: str) -> list[tuple[str, str]]:
    """The commands of this project that stand in sentences and tables, without a remark."""
    found = re.findall(
        r"`((?:make|python -m la) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S)
    )
    return [(command, "") for command in dict.fromkeys(found)]


@pytest.mark.parametrize("command, remark", commands(README) + inline(README))
def test_a_command_of_the_readme_is_run_by_a_test_or_says_what_it_needs(command, remark):
    if "needs " in remark:
        return
    named = [prefix for prefix in RUN_BY if command.startswith(prefix)]
    assert named, f"no test runs {command!r}"
    path, name = RUN_BY[max(named, key=len)].split("::")
    assert f"def {name}(" in (ROOT / "tests" / path).read_text()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_commands_have_targets_variables_and_options_that_exist(paper):
    makefile = (ROOT / "Makefile").read_text()
    known = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for command, _ in commands(paper.read_text(encoding="utf-8")):
        words = shlex.split(command)
        if words[0] == "make":
            target, *settings = words[1:]
            assert target.removeprefix("reproduce-") in known, command
            for setting in settings:
                name = setting.split("=")[0]
                assert re.search(rf"\$\((value )?{name}\)", makefile), command
        elif words[1:3] == ["-m", "la"]:
            group = get_command(app)
            chosen = group.get_command(None, words[3])
            chosen.make_context(words[3], words[4:])  # raises where an option does not exist


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_links_lead_to_files_of_the_repository(paper):
    targets = re.findall(r"\]\(([^)#]+)\)", paper.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("http")]
    assert not [target for target in local if not (paper.parent / target).exists()]


def test_the_readme_is_short():
    prose = re.sub(r"```.*?```|<!-- (questions|numbers|pages).*?<!-- end", "", README, flags=re.S)
    assert len(prose.split()) <= 850


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working folder with the three photographs that README names."""
    for number in (1, 2, 3):
        Image.effect_noise((420, 340), 60 + number).convert("RGB").save(
            f"{tmp_path}/photo{number}.jpg"
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_of_the_readme(photos):
    (example,) = blocks(README, "python")
    exec(example, {})
    with Image.open(photos / "photo3_labels.png") as picture:
        assert picture.size == (420, 340)


def test_the_folder_command_of_the_readme(photos):
    (line,) = [command for command, _ in commands(README) if "la predict" in command]
    (example,) = blocks(README, "python")
    names: dict = {}
    exec(example, names)
    names["support"].save(photos / "prompts.safetensors")
    (photos / "FOLDER").mkdir()
    (photos / "photo1.jpg").rename(photos / "FOLDER" / "photo1.jpg")
    words = shlex.split(line.replace("prompts.json", "prompts.safetensors"))[3:]
    assert main(words) == 0
    assert (photos / "OUT" / "masks" / "photo1.jpg.png").exists()


def test_the_results_in_the_readme_are_those_that_are_stored():
    assert readme.with_results(README, ROOT / "results" / "quick") == README, "run make readme"


def test_the_blocks_of_results_are_replaced_and_the_rest_stays(tmp_path):
    head = "prompts,method,setting,N,K,fold,value,half_width\n"
    one = "masks,LA,1-way 1-shot,1,1,mean,47.26,0.5\nmasks,LA,1-way 1-shot,1,1,0,40,1\n"
    two = "masks,LA,2-way 1-shot,2,1,mean,42.04,1.25\nmasks,Affinity,5-way 1-shot,5,1,mean,0,0\n"
    two += "masks,All background,5-way 1-shot,5,1,mean,0,0\n"
    (tmp_path / "table1.csv").write_text(head + one)
    (tmp_path / "table2.csv").write_text(head + two)
    (claim,) = (c for c in CLAIMS if c.section == "4.3, Table 2")
    row = f"| {claim.text} ([table2](table2.ipynb); section 4)  | unresolved | LA scores 50 %. |"
    front = f"# Results\n\n**LA is behind in C.**\n\nText.\n\n{row}\n"
    (tmp_path / "README.md").write_text(front)
    (tmp_path / "table2.ipynb").write_text("| minutes of evaluation | 8.7 |\n")
    block = "<!-- {0}: written by make readme -->\n| 12.3 |\n<!-- end of {0} -->\n"
    text = f"before\n{block.format('questions')}{block.format('numbers')}between\n"
    text += f"{block.format('pages')}after\n"
    made = readme.with_results(text, tmp_path)
    assert made.startswith("before\n") and made.endswith("after\n")
    assert ">\nbetween\n<" in made and "12.3" not in made
    assert "| LA | 47.3 ± 0.5 | 42.0 ± 1.2 |  |\n| Affinity |  |  | 0.0 ± 0.0 |\n" in made
    assert "All background" not in made
    page = "results/quick/table2.ipynb"
    title = readme.PAGES["table2"]
    assert f"| [{claim.text}]({page}) | unresolved |\n" in made
    assert made.count("| unresolved |") == 1
    assert f"| [{title}]({page}) | `reproduce-table2` | 9 |\n" in made
    assert f"| {readme.PAGES['table3']}, not yet made | `reproduce-table3` |  |" in made
    assert made.index("[How sure") < made.index("**LA is behind in C.**") < made.index("| LA |")
    assert readme.with_results(made, tmp_path) == made
    with pytest.raises(ValueError, match="questions: written by make readme"):
        readme.with_results("no markers", tmp_path)
