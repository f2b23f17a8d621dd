"""What one process of several does for test_parallel.py: the work of one alone, then its share.

With a folder of Parquet shards and one for checkpoints.
"""

import contextlib
import itertools
import os
from pathlib import Path

import torch
import torch.distributed as dist
from processes import Stopped, stop_at

from rsstudy.data.parquet import read_parquet
from rsstudy.encoders import create, tiny
from rsstudy.evaluation import prepare
from rsstudy.methods import attach, count_trained, create_method, trained
from rsstudy.objectives import Objective, false_negatives, named_objective
from rsstudy.training.loop import train
from rsstudy.training.parallel import joined, together
from rsstudy.training.recipe import Recipe

# Nothing is drawn in the towers, so that there is one right answer; the second views differ all
# the same, by their captions.
STILL = {"token_dropout": 0.0, "sibling_captions": True}
MEANS = {"negatives": "all", "reduction": "mean", "mask_false_negatives": True}
OBJECTIVES = {
    "infonce": Objective(),
    "infonce, false negatives masked": Objective(mask_false_negatives=True),
    "hmmc": named_objective("hmmc", **STILL),
    "hmmc, means over all negatives": named_objective(
        "hmmc", image_weight=0.5, text_weight=2.0, **STILL, **MEANS
    ),
    "hmmc-infonce": named_objective("hmmc-infonce", **STILL),
    "both views": named_objective("hinge-two-views", reduction="mean", **STILL),
}


def of_embeddings(pairs: int, objective: Objective) -> tuple[float, torch.Tensor]:
    """The loss of a batch of random vectors, and its gradients, as the processes add them up."""
    generator = torch.Generator().manual_seed(pairs)
    seen, read = (
        torch.randn(objective.views, pairs, 8, generator=generator, dtype=torch.double)
        for _ in range(2)
    )
    scale = torch.tensor(1.5, dtype=torch.double, requires_grad=True)
    mask = None
    if objective.mask_false_negatives:
        mask = false_negatives(torch.arange(pairs), torch.arange(pairs) % 3)
    share = together().share(pairs)
    # as in the loop: one without rows embeds a row that does not count
    first = share.first if share and share.rows else 0
    mine = slice(first, first + max(share.rows, 1)) if share else slice(None)
    whole = [views.clone().requires_grad_() for views in (seen, read)]
    parts = [torch.nn.functional.normalize(views[:, mine].flatten(0, 1), dim=-1) for views in whole]
    loss = objective.loss(*parts, scale, mask, share)
    loss.backward()
    gradients = torch.cat(
        [g.flatten() for g in (whole[0].grad, whole[1].grad, scale.grad) if g is not None]
    )
    return together().add(loss.detach().clone()).item(), together().add(gradients)


def trained_on(pairs, objective, batch: int, parts: int = 1, **more):
    """The losses of a short run, and the weights it ends in."""
    encoder = create("tiny@random")
    attach(encoder, create_method("mrs-adapter", {"dropout": 0.0}))
    how = {"precision": "fp32", "samples": "captions", "accumulate": parts}
    recipe = Recipe(epochs=2, batch=batch, **how)
    scores = itertools.count(1.0)
    done = train(encoder, pairs, objective, recipe, lambda _: next(scores), progress=False, **more)
    weights = {name: p.detach().clone() for name, p in trained(encoder).items()}
    return [row["loss"] for row in done.history[1:]], weights, count_trained(encoder).total


def main(folder: Path, scratch: Path) -> None:
    tiny.VISION["layers"] = tiny.TEXT["layers"] = 1  # in a process of its own
    sizes = (2, 3, 5, 8)
    alone = {(n, s): of_embeddings(s, o) for n, o in OBJECTIVES.items() for s in sizes}
    pairs = prepare(create("tiny@random"), read_parquet(folder).split("train"))
    # 30 captions: with 7 a step, an uneven last batch of two
    names = OBJECTIVES if os.environ["WORLD_SIZE"] == "2" else ["infonce", "hmmc"]
    runs = {name: trained_on(pairs, OBJECTIVES[name], 7) for name in names}
    with joined() as processes:
        for (name, size), (loss, gradients) in alone.items():
            found, added = of_embeddings(size, OBJECTIVES[name])
            assert abs(found - loss) < 1e-12, (name, size, found, loss)
            assert torch.allclose(added, gradients, rtol=0, atol=1e-12), (name, size)
        sent: list[int] = []
        reduce = dist.all_reduce

        def counted(tensor, *more, **named):
            sent.append(tensor.numel())
            return reduce(tensor, *more, **named)

        dist.all_reduce = counted
        for name in runs:
            objective = OBJECTIVES[name]
            sent.clear()
            losses, weights, count = trained_on(pairs, objective, 7)
            expected = runs[name]
            for loss, other in zip(losses, expected[0], strict=True):
                assert abs(loss - other) < 1e-5 * abs(other), (name, losses, expected[0])
            for key, weight in weights.items():
                assert torch.allclose(weight, expected[1][key], atol=2e-4), (name, key)
            # in 10 steps the trained gradients; beside them losses, and gradients of embeddings
            size = count + objective.trains_temperature
            assert sent.count(size) == 10, (name, count, sent)
            rows = 4 * processes.size * create("tiny@random").joint_width
            assert all(numbers <= rows for numbers in sent if numbers != size), (name, sent)
            assert size > rows
        dist.all_reduce = reduce

        # each embeds its rows in parts
        losses, _, _ = trained_on(pairs, OBJECTIVES["infonce"], 7, parts=2)
        assert all(abs(a - b) < 1e-5 for a, b in zip(losses, runs["infonce"][0], strict=True))

        # dropout is drawn; a run interrupted after its first epoch goes on as if nothing had been
        drawn = named_objective("hmmc")
        whole = trained_on(pairs, drawn, 7)
        file = scratch / "checkpoint.pt"
        with contextlib.suppress(Stopped):
            trained_on(pairs, drawn, 7, checkpoint=file, after_step=stop_at(5))
        losses, weights, _ = trained_on(pairs, drawn, 7, checkpoint=file)
        assert losses == whole[0], (losses, whole[0])
        assert all(torch.equal(weights[name], value) for name, value in whole[1].items())
        everyone = processes.all(torch.cat([w.flatten() for w in weights.values()]))
        assert all(torch.equal(one, everyone[0]) for one in everyone)
        (scratch / f"done-{processes.rank}-of-{processes.size}").touch()
