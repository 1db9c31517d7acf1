"""Two processes fit and evaluate on one list: each its share, the sum is what one counts."""

import json
import os
import subprocess
import sys

from la.data.embedded import synthetic


def evaluate(home, method, *launcher):
    words = ["evaluate", "--profile", "smoke", "--method", method, "--ways", "2",
             "--episodes", "11", "--data", str(home.parent / "few")]  # fmt: skip
    environment = os.environ | {"LA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "la", *words],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    (fit,) = (home / "results").rglob(f"fits/{method}*.json")
    shown = {k: v for k, v in json.loads(line).items() if k != "seconds"}
    return shown, json.loads(fit.read_text())


def test_two_processes_count_and_fit_what_one_does(tmp_path):
    synthetic.write(tmp_path / "few", n_train=20, n_val=120, progress=False)
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    for method in ("threshold_prototype", "affinity"):  # a bias, and a hyper-parameter
        alone = evaluate(tmp_path / "one", method)
        assert evaluate(tmp_path / "two", method, *launcher) == alone
