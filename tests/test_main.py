"""The command line: what it prints, and what it says about a user's mistakes."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from la import profiles
from la.__main__ import main
from la.errors import UserError
from la.experiment.setup import workbench
from la.learn.weights import checkpoints, hub
from la.report.pages import freshness


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder of its own, with a small embedded data set."""
    from la.data.embedded import synthetic

    home = tmp_path_factory.mktemp("home")
    synthetic.write(home / "cache" / "embedded", n_train=120, n_val=160, progress=False)
    return home


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    def opened(cls, profile, data=None, unseen=()):
        return cls(profiles.profile(profile), data, home, unseen=tuple(unseen))

    monkeypatch.setattr(workbench.Workbench, "open", classmethod(opened))
    monkeypatch.setattr("la.folders.HOME", home)
    monkeypatch.setattr("la.data.dataset.synthetic.write", lambda folder: folder)


def run(capsys, *words):
    status = main(list(words))
    out = capsys.readouterr()
    return status, out.out, out.err


def test_episodes_are_json_lines_and_the_same_each_time(capsys):
    words = ("episodes", "--fold", "1", "--ways", "2", "--episodes", "5")
    status, first, _ = run(capsys, *words)
    assert status == 0
    episodes = [json.loads(line) for line in first.splitlines()]
    assert len(episodes) == 5
    assert all(len(e["class_ids"]) == 2 and e["query_id"] not in e["support_ids"] for e in episodes)
    assert run(capsys, *words)[1] == first


def test_evaluate_prints_one_json_object_and_the_same_numbers_again(capsys):
    words = ("evaluate", "--method", "threshold_prototype", "--profile", "smoke", "--ways", "2",
             "--episodes", "12")  # fmt: skip
    status, out, err = run(capsys, *words)
    assert status == 0
    shown = json.loads(out)
    assert set(shown) == {
        "miou_star", "per_class", "episodes", "episodes_sha256", "checkpoint_sha256", "seconds",
    }  # fmt: skip
    assert 0 < shown["miou_star"] < 1 and shown["episodes"] == 12
    assert 2 <= len(shown["per_class"]) < 20  # those that an episode asked for
    assert all(0 <= iou <= 1 for iou in shown["per_class"].values())
    assert "not the paper's setting" in err
    assert json.loads(run(capsys, *words)[1]) == shown


@pytest.mark.slow
def test_training_stops_and_goes_on_and_the_checkpoint_can_be_scored(capsys, home):
    words = ("train", "--profile", "smoke", "--method", "la", "--fold", "0")
    status, _, err = run(capsys, *words, "--stop-after", "2")
    assert status == 0 and "saved at step 2 of 4; run again to resume: python -m la train" in err
    command, kept = err.splitlines()[-2:]
    assert list((home / "runs/smoke").glob("la_fold0*")) == [Path(kept.split("kept in ")[1])]
    resume = shlex.split(command.split("python -m la ")[1])
    assert resume == [*words, "--seed", "0"]
    status, out, _ = run(capsys, *resume)
    assert status == 0
    checkpoint = out.strip()
    assert Path(checkpoint).with_name("best.safetensors").exists()
    history = Path(checkpoint).with_name("history.jsonl").read_text().splitlines()
    scores = [json.loads(line).get("validation") for line in history]
    # A stop saves without a validation; the end of the training has one.
    assert scores[:3] == [None] * 3 and 0 <= scores[3] <= 1
    status, out, _ = run(
        capsys, "evaluate", "--profile", "smoke", "--checkpoint", checkpoint, "--episodes", "4"
    )
    assert status == 0 and len(json.loads(out)["checkpoint_sha256"]) == 64


def test_recompute_trains_and_scores_again_what_other_code_made(capsys, home):
    words = ("--profile", "smoke", "--method", "la", "--fold", "2", "--episodes", "4")
    trained = Path(run(capsys, "train", *words[:6])[1].strip()).parent
    assert run(capsys, "evaluate", *words)[0] == 0
    for command in ("train", "evaluate"):
        words_of = words[:6] if command == "train" else words
        (trained / "code.txt").write_text("0ther")
        assert run(capsys, command, *words_of)[0] == 0
        assert (trained / "code.txt").read_text() == "0ther"
        assert run(capsys, command, *words_of, "--recompute")[0] == 0
        assert (trained / "code.txt").read_text() != "0ther"
        assert trained.with_name(f"{trained.name}.by-0ther").is_dir()
        shutil.rmtree(trained.with_name(f"{trained.name}.by-0ther"))


def test_models_are_listed_with_size_source_and_licence(capsys):
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert "quick" in out and "pasqualedem/label_anything_coco_fold0_mae_7a5p0t63" in out
    assert "MB" in out and "MIT" in out and "trained on" in out


def test_a_folder_is_checked_without_torch(tiny_coco, tmp_path):
    """Importing it takes as long as the check of 80,000 annotations."""
    code = (
        "import sys; from la.__main__ import main; "
        "statuses = [main(['data', sys.argv[1]]) for _ in range(2)]; "  # parses; reads what it kept
        "print(statuses, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_coco.parents[1]],
        env=os.environ | {"LA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[0, 0] False"
    assert list(tmp_path.glob("cache/index/index-*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("episodes", "--ways", "21"), "use n_ways <= 20"),
        (("episodes", "--fold", "4"), "no fold 4; known: 0, 1, 2, 3"),
        (("episodes", "--profile", "huge"), "no profile 'huge'; known: quick"),
        (("episodes", "--profile", "quick@many"), "the number of training steps must follow the @"),
        (("episodes", "--profile", "quick@0"), "the number of training steps must follow the @"),
        (("evaluate", "--method", "magic"), "no method 'magic'; known: la"),
        (("evaluate", "--prompts", "scribble"), "no prompt kind 'scribble'; known: mask, "),
        (("train", "--method", "floor"), "is not trained; choose la"),
        (("data", "--data", "/nowhere"), "no folder /nowhere"),
        (("data", __file__), "test_main.py is a file; give a folder in COCO format"),
        (("data", "a", "--data", "b"), "two folders, a and --data b; give one of them"),
        (("data", "--faults", "a.csv"), "--faults needs a folder to check"),
        (("run", "table9"), "no notebook 'table9' in notebooks/; known:"),
        (("run", "table2", "-p", "fodl=1"), "table2 has no parameter 'fodl'; it has profile"),
        (("run", "table2", "-p", "folds"), "is not name=value"),
        (("evaluate", "--checkpoint", "/no.safetensors", "--episodes", "2"), "/no.safetensors"),
        (("evaluate", "--bfloat16"), "--bfloat16 is for a --checkpoint"),
        (("evaluate", "--method", "prototype", "--checkpoint", "quick"), "leave out --method"),
        (("evaluate", "--episodes", "0"), "--episodes 0: at least 1 episode is needed"),
        (("run", "table2", "--seeds", "-1"), "'-1' is not a list of numbers such as 0,1,2"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(words, said, capsys):
    status, out, err = run(capsys, *words)
    assert status == 2 and not out
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err


class Raises:
    """A list of models that cannot be read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __iter__(self):
        raise self.error


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(hub, "KNOWN", Raises(ValueError("as a bug raises it")))
    with pytest.raises(ValueError, match="as a bug raises it") as error:
        main(["models"])
    assert not isinstance(error.value, UserError)


def test_a_full_disk_is_one_sentence_and_status_2(capsys, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    monkeypatch.setattr(hub, "KNOWN", Raises(full))
    status, out, err = run(capsys, "models")
    assert (status, out) == (2, "")
    mend = "make room, or choose a folder on another disk"
    assert err == f"la models: /data/x: No space left on device; {mend}\n"


def test_ctrl_c_says_that_the_command_resumes(capsys, monkeypatch):
    monkeypatch.setattr(hub, "KNOWN", Raises(KeyboardInterrupt()))
    status, _, err = run(capsys, "models")
    assert status == 130 and "the same command resumes" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing command"),
        (("tain",), "No such command 'tain'"),
        (("predict",), "Missing option"),
        (("train", "--fodl", "1"), "No such option: --fodl"),
        (("evaluate", "--seed", "-1"), "Invalid value for '--seed'"),
        (("evaluate", "--ways", "0"), "Invalid value for '--ways'"),
    ],
)
def test_a_wrong_command_line_is_named_with_status_2(words, said, capsys):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "") and said in err and "Traceback" not in err


def test_a_paper_profile_without_its_data_stops_before_the_work(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LA_COCO", str(tmp_path / "coco"))
    monkeypatch.setenv("LA_WEIGHTS", str(tmp_path / "weights"))
    status, _, err = run(capsys, "train", "--profile", "paper-sam")
    assert status == 2
    assert "GPU" in err or "make room" in err  # whichever would stop it first here


def test_an_exported_model_carries_the_bias_that_was_fitted_to_it(capsys, home, tmp_path):
    path = tmp_path / "exported.safetensors"
    words = ("export", "--profile", "smoke", "--ways", "2", "--weights", str(path))
    status, out, _ = run(capsys, *words)
    assert status == 0
    bias = float(out.split("bias ")[1].split(",")[0])
    card = checkpoints.load(path).card
    assert card.bias == bias and "seen classes of fold 0" in card.trained_on
    fits = (home / "runs" / "fits").glob("*.json")
    assert bias in [json.loads(fit.read_text())["bias"] for fit in fits]


def test_the_deterministic_switch_trains_and_scores_what_is_computed_without_it(
    capsys, home, monkeypatch
):
    words = ("evaluate", "--profile", "smoke", "--method", "la", "--episodes", "2")
    usual = json.loads(run(capsys, *words)[1])
    shutil.rmtree(home / "runs")
    shutil.rmtree(home / "results")
    monkeypatch.setenv("LA_DETERMINISTIC", "1")
    try:
        switched = json.loads(run(capsys, *words)[1])
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    assert switched["checkpoint_sha256"] == usual["checkpoint_sha256"]
    assert switched["miou_star"] == usual["miou_star"]


def test_a_page_with_all_methods_is_up_to_date_also_without_them(capsys, home):
    bench = workbench.Workbench.open("smoke")
    page = bench.results / "table1.ipynb"
    page.parent.mkdir(parents=True, exist_ok=True)  # another test may have made it
    page.write_text(json.dumps({"cells": [], "metadata": {}}))
    parameters = {"methods": ["all"], "folds": [0]}
    freshness.record_inputs(page, freshness.inputs_of_page(bench, "table1", parameters))
    words = ("run", "table1", "--profile", "smoke", "--folds", "0")
    assert "nothing changed" in run(capsys, *words)[1]
    assert "nothing changed" in run(capsys, *words, "--methods", "all")[1]
    changed = {**parameters, "folds": [1]}
    freshness.record_inputs(page, freshness.inputs_of_page(bench, "table1", changed))
    status, _, err = run(capsys, *words, "-p", "unknown=1")
    assert "parameters changed" in err and status == 2
    page.unlink()
