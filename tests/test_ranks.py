"""Two processes evaluate one list: each its share, and the sum is what one process counts."""

import json
import os
import subprocess
import sys

from la.data import synthetic


def evaluate(home, *launcher):
    words = ["evaluate", "--profile", "smoke", "--method", "prototype", "--ways", "2",
             "--episodes", "11", "--data", str(home.parent / "few")]  # fmt: skip
    environment = os.environ | {"LA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "la", *words],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = {line for line in done.stdout.splitlines() if line.startswith("{")}
    return {k: v for k, v in json.loads(line).items() if k != "seconds"}


def test_two_processes_count_what_one_counts(tmp_path):
    synthetic.write(tmp_path / "few", n_train=20, n_val=120, progress=False)
    launcher = ["torch.distributed.run", "--nproc-per-node=2", "--master-port=29617", "-m"]
    assert evaluate(tmp_path / "one") == evaluate(tmp_path / "two", *launcher)
