"""Trainings by several ranks: `python trained_by_ranks.py RANK RANKS FOLDER CASE…` is one rank of all named cases.

Each case trains in FOLDER/CASE, where rank 0 leaves its journal, and leaves there what this rank found, as
`found.RANK.json`. Called with one rank in the tests' own process, the same cases are what the others are held against.
"""

import hashlib
import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

from reviewlm.training.context import FitContext
from reviewlm.training.neural import checkpointing
from reviewlm.training.neural.trainer import train
from tests.models.neural.made_streams import stream_of
from tests.models.neural.made_trainings import SPEC, TRAIN, TRAINING, VALIDATION, V, network_of

PLAIN = replace(SPEC, dropout=0.0)
RECIPES = {
    "even": TRAINING,
    "uneven": replace(
        TRAINING,
        batch=5,
        bptt_grad_len=15,
        activation_penalty=0.5,
        temporal_penalty=0.5,
        ema=0.9,
    ),
    "unscored": replace(
        TRAINING,
        batch=2,
        bptt_len=5,
        stateful=False,
        state_reset_prob=0.02,
        epochs=6,
    ),
    "nan": TRAINING,
    "memory": replace(TRAINING, batch=8),
    "dropout": TRAINING,
    "killed": TRAINING,
    "taken up": TRAINING,
    "left to one": TRAINING,
}
KILLED_AT = 40
LOPSIDED = stream_of([[9 + i % 20 for i in range(60)], [11, 12, 13]], V)
"""Two reviews: whoever reads the short one has no token to score for most of an epoch."""


class Killed(BaseException):
    """Stands for the end of the process: nothing in the program may catch it."""


def die(window, features_NE):
    if window == KILLED_AT:
        raise Killed
    return features_NE


def spoil(window, features_NE):
    return features_NE * math.nan if window == 30 else features_NE


def run_out_of_memory(window, features_NE):
    """Hold the activations of one stream only, from window 10 on."""
    if window > 10 and len(features_NE) > TRAINING.bptt_len:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return features_NE


def network_for(
    case,
    rank,
    ranks,
):
    network = network_of(
        replace(
            SPEC if case in ("dropout", "killed", "taken up") else PLAIN, training=RECIPES[case]
        )
    )
    troubles = {"nan": spoil, "memory": run_out_of_memory if ranks > 1 else None}
    trouble = troubles.get(case) if rank == ranks - 1 else None
    if case in ("killed", "left to one") and ranks > 1:
        trouble = die
    if trouble:
        loss, windows = network.output.loss, itertools.count(1)
        network.output.loss = lambda features_NE, *rest: loss(
            trouble(next(windows), features_NE), *rest
        )
    return network


def run_case(
    case,
    folder,
    rank=0,
    ranks=1,
):
    """Train; return the summary and a checksum of the weights."""
    work = folder / ("killed" if case == "taken up" else case)
    work.mkdir(exist_ok=True, parents=True)
    network, recipe = network_for(case, rank, ranks), RECIPES[case]
    context = FitContext(
        work,
        rank=rank,
        ranks=ranks,
        init_method=f"file://{folder}/meeting {case}",
    )
    try:
        summary = dict(
            train(
                network,
                LOPSIDED if case == "unscored" else TRAIN,
                VALIDATION,
                recipe,
                context,
            )
        )
    except Killed:
        return {"killed": True}
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in network.parameters())
    return {"summary": summary, "weights": hashlib.sha256(weights).hexdigest()}


def main():
    rank, ranks, folder, cases = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    torch.set_num_threads(1)
    checkpointing.CHECKPOINT_SECONDS = 0.0
    for case in cases:
        found = run_case(case, folder, rank, ranks)
        (folder / f"{case}.{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
