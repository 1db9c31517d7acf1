"""`--unseen`: classes of the user's own data that are held out by name."""

import json
import shlex
import subprocess
import unicodedata
from dataclasses import replace

import pytest

from la.__main__ import main
from la.code import PACKAGE
from la.data.sampling.folds import seen, unseen
from la.errors import UserError
from la.experiment.job import Job
from la.experiment.methods import method
from la.experiment.planning.pace import measure
from la.experiment.runs import Run
from la.experiment.setup import held_out
from la.experiment.setup.drawable import drawable
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.weights.checkpoints import file_sha256
from la.profiles import profile
from la.report.pages.episode_lists import fold_classes
from tests.commands import Command
from tests.conftest import write_coco
from tests.test_advice import COMMANDS

SETTING = Measurement("la", 0, 1, 1, 0, 4)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder of 12 images with 3 classes."""
    folder = tmp_path_factory.mktemp("held_out") / "three"
    write_coco(folder, n_images=12, class_ids=[2, 3, 5])
    return folder


@pytest.fixture
def bench(three, tmp_path):
    return replace(Workbench.open("smoke", three, ["class 3"]), home=tmp_path)


def test_the_pace_of_three_classes_is_measured(three, tmp_path):
    """It is timed with four classes at once, which are random if the data have fewer."""
    pace = measure(replace(Workbench.open("smoke", three), home=tmp_path))
    assert pace.query + pace.example > 0 and pace.prepared > 0


def test_named_classes_are_held_out_and_all_others_are_trained_on(bench):
    assert bench.classes(0, seen=False) == (3,)
    assert bench.classes(0, seen=True) == (2, 5)
    assert bench.classes(None, seen=True) == (2, 3, 5)
    two = replace(bench, unseen=("class 2", "class 5"))
    assert (two.classes(0, seen=False), two.classes(0, seen=True)) == ((2, 5), (3,))
    assert fold_classes(two).to_dict("list") == {"fold 0": ["class 2", "class 5"]}


def test_without_names_the_folds_are_those_of_the_profile(bench):
    usual = replace(bench, unseen=())
    ids = usual.data.test.category_ids
    for fold in range(4):
        assert usual.classes(fold, seen=False) == unseen(ids, fold, "interleaved")
        assert usual.classes(fold, seen=True) == seen(ids, fold, "interleaved")


def test_there_is_one_fold_and_a_table_takes_it_alone(bench):
    planned = [replace(SETTING, fold=fold, n_ways=5) for fold in range(4)]
    assert drawable(bench, planned) == [SETTING]
    assert bench.distinct([0, 1, 2, 3]) == [0]
    with pytest.raises(UserError, match="no fold 2: --unseen names the classes of one fold, 0"):
        bench.classes(2, seen=False)


def test_the_first_line_says_which_classes_are_held_out_and_why(bench):
    usual = replace(bench, unseen=()).headline()
    assert "3 classes are too few to hold any out" in usual
    said = bench.headline()
    assert "too few" not in said and "split by image: 6 to train, 6 to test; class 3 is" in said
    assert "class 3 is held out, as --unseen says, and 2 other classes are trained on." in said
    two = replace(bench, unseen=("class 2", "class 5")).headline()
    assert "class 2, class 5 are held out, as --unseen says, and 1 other class is trained" in two


def test_names_compare_in_either_form_of_unicode_and_their_order_changes_nothing(three):
    decomposed = unicodedata.normalize("NFD", "âne")
    names = held_out.named([decomposed, "zèbre", "âne"], profile("quick"), has_folder=True)
    assert names == ("zèbre", "âne")
    forwards, backwards = (
        Workbench.open("smoke", three, names)
        for names in (["class 3", "class 2"], ["class 2", "class 3", "class 2"])
    )
    assert forwards == backwards


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat"], "--unseen: no class 'cat'; known: class 2, class 3, class 5"),
        (
            ["class 2", "class 3", "class 5"],
            r"--unseen names all classes \(class 2, class 3, class 5\), so that none is left",
        ),
    ],
)
def test_wrong_names_are_said_with_the_known_ones(names, said, three):
    with pytest.raises(UserError, match=said):
        Workbench.open("smoke", three, names).sampler(0, (1, 1))


def test_a_single_class_cannot_be_held_out(tmp_path):
    write_coco(tmp_path / "one", n_images=5, class_ids=[2])
    bench = Workbench.open("smoke", tmp_path / "one", ["class 2"])
    with pytest.raises(UserError, match="so that none is left to train on"):
        Run.of(replace(bench, home=tmp_path), method("la"), 0, 0).train()


@pytest.mark.parametrize("name", ["quick", "paper-sam"])
def test_the_folds_of_a_profile_s_own_data_are_fixed(name):
    with pytest.raises(UserError, match=f"profile {name} are fixed by the protocol; give --da"):
        Workbench.open(name, None, ["cat"])
    with pytest.raises(UserError, match="profile photos has no images of its own; give --data"):
        Workbench.open("photos", None, ["cat"]).headline()


def test_runs_results_and_fits_of_other_unseen_classes_have_other_names(bench):
    others = [replace(bench, unseen=names) for names in ((), ("class 2",), ("class 2", "class 3"))]
    benches = [bench, *others]
    runs = {Run.of(b, method("la"), 0, 0).folder for b in benches}
    jobs = [Job(b, replace(SETTING, method="affinity")) for b in benches]
    assert len(runs) == 4 and len({b.results for b in benches}) == 4
    assert len({job.key for job in jobs}) == 4 and len({job._fit_key for job in jobs}) == 4
    assert Run.of(bench, method("la"), 0, 0).trained_on.endswith("all classes but class 3")


def test_the_names_stand_in_the_folder_of_the_results(bench):
    def folder(*names):
        return replace(bench, unseen=names).results.name

    assert folder() == "smoke@three"
    assert folder("cat", "dog") == "smoke@three@unseen=cat,dog"
    alike = [("a/b",), ("a_b",), ("a,b",), ("a", "b"), ("c" * 99,), ("c" * 98,)]
    names = [folder(*alike_names) for alike_names in alike]
    assert len(set(names)) == len(alike)
    assert all(len(name) < 80 and "/" not in name and " " not in name for name in names)


def test_three_classes_of_twelve_images_are_trained_and_scored(
    three, tmp_path, capsys, monkeypatch
):
    home = tmp_path / "home"
    opened = Workbench.open
    monkeypatch.setattr(Workbench, "open", lambda *words: replace(opened(*words), home=home))
    words = ["--data", str(three), "--profile", "smoke", "--unseen", "class 5"]
    assert main(["train", *words, "--stop-after", "2"]) == 0
    assert "--unseen 'class 5'" in capsys.readouterr().err  # the command that resumes
    assert main(["train", *words]) == 0
    trained = capsys.readouterr().out.strip()
    assert main(["evaluate", *words, "--episodes", "4"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert list(scored["per_class"]) == ["class 5"]
    assert file_sha256(trained) == scored["checkpoint_sha256"]
    assert main(["episodes", *words, "--episodes", "4"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [episode["class_ids"] for episode in listed] == [[5]] * 4
    assert main(["plan", *words, "--no-measure"]) == 0
    assert "Nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    ["--unseen cat", "--method prototype", "--profile quick", "--ways 2", "--bfloat16"],
)
def test_an_option_that_a_support_set_has_no_use_for_is_refused(words, capsys):
    support = ["evaluate", "--support", "prompts.json", "--data", "set", "--checkpoint", "quick"]
    assert main([*support, *words.split()]) == 2
    said = capsys.readouterr().err
    assert "--support scores all classes of its prompts" in said
    assert said.endswith(f"; leave out {words.split()[0]}\n")


def test_a_page_goes_where_its_classes_are_named(capsys):
    for name in ("unseen", "profile", "data"):
        assert main(["run", "table2", "-p", f'{name}="x"']) == 2
        assert f"-p {name}: give --{name} instead" in capsys.readouterr().err


def test_every_command_that_knows_folds_takes_names_too():
    for name, command in COMMANDS.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert bool(options & {"--fold", "--folds"}) == ("--unseen" in options), name


def test_make_passes_names_on_as_they_are():
    for target in ("plan", "verify", "reproduce-table2"):
        words = ["make", "-n", target, "PY=python", "DATA=there", "UNSEEN=traffic light,$$5 o'x"]
        said = subprocess.run(words, cwd=PACKAGE.parent, text=True, capture_output=True).stdout
        passed = shlex.split(said)
        assert passed[passed.index("--unseen") + 1] == "traffic light,$$5 o'x", target


@pytest.mark.slow
def test_a_page_shows_the_named_classes_alone(three, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    words = ["run", "table2", "--profile", "smoke", "--data", str(three), "--unseen", "class 2"]
    command = Command(home, [*words, "--seeds", "0", "--episodes", "4", "--methods", "la"])
    assert command.end() == 0, command.said[-2000:]
    folder = home / "results" / f"smoke@three@unseen={held_out.in_a_path(['class 2'])}"
    lines = (folder / "measurements" / "table2.jsonl").read_text().splitlines()
    assert [json.loads(line)["classes"] for line in lines] == [[2]]
    page = (folder / "table2.md").read_text()
    assert "class 2 is held out, as --unseen says, and 2 other classes are trained on" in page
