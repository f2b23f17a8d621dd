"""The named grids that the study runs, at each scale, and running one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from rsstudy.encoders import tiny_delta
from rsstudy.errors import StudyError, unknown
from rsstudy.pretraining import pretrain, usual
from rsstudy.run import Run, execute
from rsstudy.training import Diverged, Recipe

Scale = Literal["smoke", "bench", "paper"]


@dataclass(frozen=True)
class Setting:
    """What a scale fixes: data sets, encoder, recipe and the number of seeds."""

    data: tuple[str, ...]
    encoder: str
    recipe: Recipe
    seeds: int


# At paper scale the recipe is the paper's: Adam 2e-4, x 0.7 at epoch 20, 30 epochs, batch 16, no
# weight decay, no clipping, 224 px, a random 20 % of train and val for choosing the epoch. It says
# nothing of precision; fp32 is taken.
SCALES: dict[Scale, Setting] = {
    "smoke": Setting(
        ("scenes?images=500",), "tiny",
        Recipe(epochs=3, batch=64, learning_rate=2e-3, precision="fp32"), 2,
    ),
    "bench": Setting(("ucm", "rsicd"), "vits14-minilm", Recipe(learning_rate=3e-3), 3),
    "paper": Setting(
        ("rsicd", "rsitmd", "ucm"), "ViT-B-32@openai",
        Recipe(
            epochs=30, batch=16, samples="captions", optimizer="adam", learning_rate=2e-4,
            weight_decay=0.0, schedule="step", step_epoch=20, step_factor=0.7, warmup=0.0,
            clip_norm=0.0, precision="fp32", validation="random",
        ), 3,
    ),
}  # fmt: skip

# Learning rates where a method wants another than its scale's.
LEARNING_RATES: dict[tuple[str, str], float] = {
    ("full", "smoke"): 5e-4,
    ("full", "bench"): 3e-5,
    ("full", "paper"): 1e-5,
}

SUITES: dict[str, str] = {
    "compare": "zero-shot, linear probe, MRS adapter (shared, one a layer) and full fine-tuning, "
    "each with InfoNCE and HMMC",
}


def recipe_for(scale: Scale, method: str) -> Recipe:
    """The recipe of a scale with a method's learning rate."""
    recipe = SCALES[scale].recipe
    return replace(recipe, learning_rate=LEARNING_RATES.get((method, scale), recipe.learning_rate))


def grid(name: str, scale: Scale) -> list[Run]:
    """The runs of a suite at a scale.

    Raises:
        StudyError: unknown suite or scale.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    return list(_compare(scale))


def _compare(scale: Scale) -> Iterator[Run]:
    setting = SCALES[scale]
    arms: list[tuple[str, dict[str, Any]]] = [
        ("linear-probe", {}), ("mrs-adapter", {}), ("mrs-adapter", {"share_layers": False}),
        ("full", {}),
    ]  # fmt: skip
    for data in setting.data:
        yield Run(data, setting.encoder, "zero-shot", recipe=setting.recipe)
        for seed in range(setting.seeds):
            for method, settings in arms:
                for objective in ("infonce", "hmmc"):
                    yield Run(
                        data, setting.encoder, method, objective, recipe_for(scale, method),
                        seed, method_settings=settings,
                    )  # fmt: skip


def run_suite(
    name: str,
    scale: Scale,
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Do every run of a suite whose record is not there yet; a diverged one does not stop the rest.

    Returns:
        the records of the finished runs, in the grid's order.

    Raises:
        StudyError: a set or the encoder's weights are absent.
    """
    todo = grid(name, scale)
    if any(run.encoder == "tiny" for run in todo):
        if not tiny_delta().exists():
            say("pretraining the tiny encoder on generated ground-level scenes, once ...")
        pretrain(usual("tiny"), device=device, progress=progress)
    records = []
    for run in tqdm(todo, desc=f"suite {name}, scale {scale}", unit="run", disable=not progress):
        try:
            record, _ = execute(run, None, runs, data_root, device, progress)
        except Diverged as problem:
            say(f"{run.method} {run.objective} seed {run.seed} on {run.data}: {problem}")
            continue
        records.append(record)
    if not records:
        raise StudyError(f"no run of suite {name} finished")
    return records
