"""A training step against other people's: open_clip's own, peft's LoRA, and research code's.

ViT-B/32, the same pictures and captions, bf16 autocast where the other has it. open_clip's step is
full fine-tuning as its training script does it. The others read captions padded to the context;
ours are cut, and padded a second time, which tells the two gains apart.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import research_style
import torch
from common import arguments, in_turns, inputs, middle, ratio, write
from steps import limit, training
from torch import nn

from rsstudy.devices import pick_device
from rsstudy.encoders import DualEncoder, create
from rsstudy.encoders.openclip import open_clip
from rsstudy.methods import attach, create_method
from rsstudy.objectives import named_objective
from rsstudy.training.loop import make_optimizer
from rsstudy.training.recipe import SHORT

RANK = 16


def main() -> None:
    with ExitStack() as casts:
        measure(casts)


def measure(casts: ExitStack) -> None:
    """Everything in turns, the frozen weights cast until ``casts`` is closed."""
    parser = arguments(__doc__)
    parser.add_argument("--encoder", default="ViT-B-32@random")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--words", type=int, default=20)
    given = parser.parse_args()
    device = pick_device(given.device)
    recipe = replace(SHORT, learning_rate=1e-5)
    works: dict[str, Callable[[], object]] = {}

    def fresh(method: str, **settings: object) -> DualEncoder:
        encoder = create(given.encoder).to(device)
        attach(encoder, create_method(method, settings))
        return encoder

    def ours(
        name: str, encoder: DualEncoder, objective: str = "infonce", long: bool = False
    ) -> None:
        casts.enter_context(encoder.frozen_as(torch.bfloat16))
        shown = (batch[0], padded) if long else batch
        works[name] = training(encoder, objective, recipe, shown)[0]

    bare = fresh("zero-shot")
    batch = inputs(bare, given.batch, given.words)
    context = bare.tokenizer(["a"]).shape[1]
    padded = nn.functional.pad(batch[1], (0, context - batch[1].shape[1]))
    normalised = (batch[0].float() / 255 - bare.mean[:, None, None]) / bare.std[:, None, None]
    casts.enter_context(bare.frozen_as(torch.bfloat16))
    works["limit"] = limit(bare, "infonce", recipe, batch)
    ours("mrs-adapter", fresh("mrs-adapter"))
    ours("mrs-adapter, hmmc", fresh("mrs-adapter"), "hmmc")
    lora = {"matrices": "fc1,fc2", "rank": RANK, "alpha": RANK}
    ours("lora", fresh("lora", **lora))
    ours("lora, padded", fresh("lora", **lora), long=True)
    ours("full", fresh("full"))
    ours("full, padded", fresh("full"), long=True)

    # open_clip's training script, full fine-tuning
    model = create(given.encoder)
    research_style.as_the_library_has_it(model)
    theirs = model.model.requires_grad_(True).to(device).train()
    clip_loss = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-5)

    def open_clip_step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            seen, read, scale = theirs(normalised, padded)
            loss = clip_loss(seen, read, scale)
        loss.backward()
        optimizer.step()

    works["open_clip, full"] = open_clip_step

    # peft's LoRA on the matrices where it is right
    base = create(given.encoder)
    research_style.as_the_library_has_it(base)
    from peft import LoraConfig, get_peft_model  # it imports torchvision, which open_clip mends

    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["c_fc", "c_proj"])
    wrapped = get_peft_model(base.model, config).to(device)
    of_peft = make_optimizer(
        {n: p for n, p in wrapped.named_parameters() if p.requires_grad}, recipe
    )

    def peft_step() -> None:
        of_peft.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            seen, read, scale = wrapped.base_model.model(normalised, padded)
            loss = clip_loss(seen, read, scale)
        loss.backward()
        of_peft.step()

    works["peft, lora"] = peft_step

    # research code: HMMC as two passes, fp32, Adam over all parameters
    released = fresh("mrs-adapter")
    research_style.as_the_library_has_it(released)
    hmmc = named_objective("hmmc")
    adam = torch.optim.Adam(released.parameters(), lr=2e-4)
    released.method.train()

    def research_step() -> None:
        views = [research_style.embed(released, normalised, padded)]
        with released.token_dropout(hmmc.token_dropout, rows=0):
            views.append(research_style.embed(released, normalised, padded))
        seen, read = (torch.cat(of) for of in zip(*views, strict=True))
        loss = hmmc.loss(seen, read, released.logit_scale)
        adam.zero_grad()
        loss.backward()
        adam.step()

    works["research style, hmmc"] = research_step
    kept = next(p for n, p in bare.model.named_parameters() if n.endswith("c_fc.weight"))
    assert kept.dtype == torch.bfloat16, "the frozen weights are not cast"
    found = in_turns(works, given.rounds, device)
    rows = {name: middle(seconds) for name, seconds in found.items()}
    pairs = [
        ("mrs-adapter", "limit"),
        ("mrs-adapter, hmmc", "mrs-adapter"),
        ("mrs-adapter", "full"),
        ("open_clip, full", "full"),
        ("open_clip, full", "full, padded"),
        ("peft, lora", "lora"),
        ("peft, lora", "lora, padded"),
        ("research style, hmmc", "mrs-adapter, hmmc"),
    ]
    rows["ratios"] = {f"{a} over {b}": ratio(found[a], found[b]) for a, b in pairs}
    for name, value in rows["ratios"].items():
        print(f"{name}: {value}")
    settings = {
        "encoder": given.encoder,
        "batch": given.batch,
        "words": given.words,
        "context": context,
        "rounds": given.rounds,
        "lora rank": RANK,
    }
    print(write("others", given.device, given.out, settings, rows))


if __name__ == "__main__":
    main()
