"""A training step against other people's: open_clip's own, peft's LoRA, and research code's.

ViT-B/32, the same pictures and captions, bf16 autocast where the other has it. open_clip's step is
full fine-tuning as its training script does it. The others read captions padded to the context;
ours are cut, and padded a second time, which tells the two gains apart. With ``--compile on`` some
of ours are timed compiled, too. Towers that are not open_clip's are timed without the others.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rsstudy.encoders.openclip import open_clip
from rsstudy.experiments.cost import analytic
from rsstudy.methods import create_method
from rsstudy.objectives import named_objective
from rsstudy.training.compiled import LossOfViews
from rsstudy.training.loop import make_optimizer
from rsstudy.training.recipe import SHORT
from study.speed import research_style
from study.speed.common import Given, Work, adapted, benchmark, compared, inputs
from study.speed.steps import limit, training

RANK = 16
LORA = {"matrices": "fc1,fc2", "rank": RANK, "alpha": RANK}
RECIPE = replace(SHORT, learning_rate=1e-5)
OURS: dict[str, tuple[str, dict[str, Any], str]] = {
    "mrs-adapter": ("mrs-adapter", {}, "infonce"),
    "mrs-adapter, hmmc": ("mrs-adapter", {}, "hmmc"),
    "lora": ("lora", LORA, "infonce"),
    "lora, padded": ("lora", LORA, "infonce"),
    "full": ("full", {}, "infonce"),
    "full, padded": ("full", {}, "infonce"),
}
"""What is timed of this package: method, its settings and the objective."""
COMPILED = ("limit", "mrs-adapter", "full")
RATIOS = (
    ("mrs-adapter", "limit"),
    ("mrs-adapter, hmmc", "mrs-adapter"),
    ("mrs-adapter", "full"),
    ("open_clip, full", "full"),
    ("open_clip, full", "full, padded"),
    ("peft, lora", "lora"),
    ("peft, lora", "lora, padded"),
    ("research style, hmmc", "mrs-adapter, hmmc"),
    *((name, f"{name}, compiled") for name in COMPILED),
    ("mrs-adapter, compiled", "limit, compiled"),
    ("mrs-adapter, compiled", "full, compiled"),
)


@benchmark(
    "others",
    **{"rounds": 5, "encoder": "ViT-B-32@random", "image_size": None, "batch": 16, "words": 20},
    compile="off",
)
def others(given: Given) -> Any:
    bare = adapted(given, "zero-shot")
    shapes = {"image_size": bare.image_size, "words": given.words, "batch": given.batch}
    pair = analytic(given.encoder, create_method("mrs-adapter"), **shapes)
    graphs: dict[str, LossOfViews] = {}

    def graph(name: str) -> LossOfViews:
        recipe = replace(RECIPE, batch=given.batch)
        graphs[f"{name}, compiled"] = found = LossOfViews("on", recipe, given.device)
        return found

    images, tokens = inputs(bare, given.batch, given.words)
    context = research_style.context(bare)
    padded = research_style.padded(tokens, context)
    with ExitStack() as casts:
        casts.enter_context(bare.frozen_as(torch.bfloat16))
        works: dict[str, Work] = {"limit": limit(bare, "infonce", RECIPE, (images, tokens))}
        for name, (method, settings, objective) in OURS.items():
            encoder = adapted(given, method, **settings)
            casts.enter_context(encoder.frozen_as(torch.bfloat16))
            batch = (images, padded if name.endswith("padded") else tokens)
            works[name] = training(encoder, objective, RECIPE, batch)[0]
            if given.compile == "on" and name in COMPILED:
                step = training(encoder, objective, RECIPE, batch, graph(name))[0]
                works[f"{name}, compiled"] = step
        if given.compile == "on":
            other = adapted(given, "zero-shot")
            casts.enter_context(other.frozen_as(torch.bfloat16))
            compiled = limit(other, "infonce", RECIPE, (images, tokens), graph("limit"))
            works["limit, compiled"] = compiled
        kept = dict(bare.model.named_parameters())
        kept = {name: p for name, p in kept.items() if name.endswith(("fc.weight", "fc1.weight"))}
        assert {p.dtype for p in kept.values()} == {torch.bfloat16}, "frozen weights are not cast"
        if any(name.endswith("c_fc.weight") for name in kept):  # open_clip's own towers
            normalised = research_style.normalised(images, bare.mean, bare.std)
            works |= theirs(given, normalised, padded)
        over = {f"{a} over {b}": (a, b) for a, b in RATIOS if {a, b} <= works.keys()}
        rows, ratios = compared(given, works, over)
    rows["mrs-adapter"]["step_flops"] = pair.step_flops * given.batch
    for name, used in graphs.items():
        rows[name]["compiled"] = used.compiled  # else it ran eagerly, and said why
    return {**rows, "ratios": ratios}, {"context": context, "lora rank": RANK}


def theirs(given: Given, images: Tensor, tokens: Tensor) -> dict[str, Work]:
    """A step of open_clip's script, one with peft's LoRA, and one of research code."""
    clip_loss, library = open_clip.ClipLoss(), research_style.as_the_library_has_it

    def autocast(model: nn.Module) -> Tensor:
        with torch.autocast(given.device.type, dtype=torch.bfloat16):
            return clip_loss(*model(images, tokens))

    whole = library(adapted(given, "zero-shot")).model.requires_grad_(True).train()
    adamw = torch.optim.AdamW(whole.parameters(), lr=1e-5)
    # peft's LoRA, on the matrices for which it is right
    from peft import LoraConfig, get_peft_model  # it imports torchvision, which open_clip mends

    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["c_fc", "c_proj"])
    wrapped = get_peft_model(library(adapted(given, "zero-shot")).model, config).to(given.device)
    low_rank = {n: p for n, p in wrapped.named_parameters() if p.requires_grad}
    of_peft = make_optimizer(low_rank, RECIPE)
    # research code: HMMC as two passes, fp32, Adam over all parameters
    released, hmmc = library(adapted(given, "mrs-adapter")), named_objective("hmmc")
    released.method.train()
    adam = torch.optim.Adam(released.parameters(), lr=2e-4)
    step, loss_of = research_style.step, research_style.loss_of
    return {
        "open_clip, full": lambda: step(adamw, autocast(whole)),
        "peft, lora": lambda: step(of_peft, autocast(wrapped.base_model.model)),
        "research style, hmmc": lambda: step(adam, loss_of(released, hmmc, images, tokens)),
    }
