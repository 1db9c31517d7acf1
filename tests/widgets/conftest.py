"""A real JupyterLab."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


class Lab:
    """A running JupyterLab on 127.0.0.1 with a folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.token = folder, port, "only-for-this-test"

    def write(self, name: str, *cells: str) -> str:
        """A notebook of these code cells; its address."""
        raw = [
            {"cell_type": "code", "id": f"c{i}", "source": cell, "metadata": {}, "outputs": []}
            | {"execution_count": None}
            for i, cell in enumerate(cells)
        ]
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        content = {"cells": raw, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(content))
        return f"http://127.0.0.1:{self.port}/lab/tree/{name}?token={self.token}&reset"


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab of this environment, without the reader's settings, stopped at the end."""
    base = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR")
    env = os.environ | {f"JUPYTER_{name}": str(base / name) for name in names}
    env |= {f"JUPYTERLAB_{n}_DIR": str(base / n) for n in ("SETTINGS", "WORKSPACES")}
    env |= {"IPYTHONDIR": str(base / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1"}
    here = Path(__file__).resolve()
    env |= {"PYTHONPATH": f"{here.parent}{os.pathsep}{here.parents[2]}", "OMP_NUM_THREADS": "2"}
    news = base / "SETTINGS" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (news / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    (base / "work").mkdir()
    lab = Lab(base / "work", port)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.root_dir": lab.folder,
        "IdentityProvider.token": lab.token,
        "LabApp.expose_app_in_browser": True,
        "ServerApp.allow_root": True,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (base / "log.txt").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            _wait_for(server, f"http://127.0.0.1:{port}/api", base / "log.txt")
            yield lab
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()  # its kernels end with it
                server.wait(20)


def _wait_for(server: subprocess.Popen, url: str, log: Path) -> None:
    for _ in range(1200):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not answer in 2 minutes: {log.read_text()[-2000:]}")
