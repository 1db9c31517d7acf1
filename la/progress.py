"""How long work shows its progress: one line, made anew once a second, so that logs stay short."""

from functools import partial

from tqdm.auto import tqdm

progress_bar = partial(tqdm, mininterval=1)
