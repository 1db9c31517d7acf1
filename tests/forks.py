"""The fork server from which tests start processes with the slow packages loaded.

It may not load `la`: a command's process reads LA_HOME and pretends a device before it imports
the package. Python has one fork server for all, and the last to set what it loads decides.
"""

import multiprocessing

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    ["accelerate", "matplotlib.pyplot", "papermill", "pycocotools.mask", "safetensors.torch"]
)
