"""What methods are made of: a residual branch, learned tokens, a reparameterised weight.

All three leave the base's parameters and their names unchanged, and ``remove_all`` removes them.

A hook is a ``partial`` of a plain function, never a closure: ``copy.deepcopy`` copies what it
holds, so that a copy of a model computes with its own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from rsstudy.encoders import Block
from rsstudy.encoders.places import Matrix

Layer = TypeVar("Layer", bound=nn.Module)

# --- a residual branch -----------------------------------------------------------------------


def add_branch(block: Block, place: str, branch: nn.Module) -> None:
    """Add ``branch(x)`` to a block's residual stream at a named place.

    ``x`` is the tensor (B, L, width) that the place reads; see ``rsstudy.encoders.places``. Nothing
    of the block is replaced, so its parameters keep their names.
    """
    read, add = block.place(place)
    kept: list[Tensor] = []
    added = partial(_added, branch, kept)
    if read != add:  # then it reads an input
        before(block.module.get_submodule(read.module), partial(_keep_first, kept))
    adder = block.module.get_submodule(add.module)
    if add.side == "input":
        before(adder, partial(_with_first, added))
    else:
        after(adder, added)


def _added(branch: nn.Module, kept: list[Tensor], stream: Tensor) -> Tensor:
    return stream + branch(kept.pop() if kept else stream)


def _keep_first(kept: list[Tensor], args: tuple, _kwargs: dict) -> None:
    kept.append(args[0])


class Bottleneck(nn.Module):
    """s (W_up Dropout(a(W_down x + b_down)) + b_up), (..., d) -> (..., d); zero at the start.

    W_down starts uniform within 1 / sqrt(d), or normal with the deviation ``std``.

    Args:
        width, hidden: d, and the width between the two layers.
        activation: a.
        scale: s.
        bias: whether there are b_down and b_up.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        dropout: float = 0.0,
        scale: float = 1.0,
        bias: bool = True,
        std: float | None = None,
    ):
        super().__init__()
        self.down = nn.Linear(width, hidden, bias)
        self.up = zero(nn.Linear(hidden, width, bias))
        self.activation, self.dropout, self.scale = activation, nn.Dropout(dropout), scale
        if std is None:
            nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        else:
            nn.init.normal_(self.down.weight, std=std)
        if bias:
            nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.up(self.dropout(self.activation(self.down(x))))
        return out if self.scale == 1 else self.scale * out


def zero(layer: Layer) -> Layer:
    """The layer, with all of its parameters set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def skip_block(block: Block) -> None:
    """Let a block return its input unchanged."""
    _own(block.module, block.module.register_forward_hook(_input_again))


def _input_again(_module: nn.Module, args: tuple, output: Any) -> Any:
    return (args[0], *output[1:]) if isinstance(output, tuple) else args[0]


# --- learned tokens --------------------------------------------------------------------------


def add_tokens(blocks: Sequence[Block], count: int, tokens: Callable[[], Tensor]) -> None:
    """Learned tokens (count, width) run through some successive blocks, before the others.

    They enter before the first of the blocks and are taken out behind the last, so whatever follows
    finds the tokens it knows. All tokens see them; they see what the first token sees.

    Args:
        tokens: gives the tokens, ``count`` of them, in every forward pass.
    """
    before(blocks[0].module, partial(_with_first, partial(_behind, tokens)))
    for block in blocks:
        before(block.module, partial(_with_mask, partial(widen, count=count, front=True)))
    after(blocks[-1].module, partial(_from, count))


def _behind(tokens: Callable[[], Tensor], stream: Tensor) -> Tensor:
    learned = tokens().to(stream.dtype).expand(len(stream), -1, -1)
    return torch.cat([learned, stream], dim=1)


def _from(count: int, stream: Tensor) -> Tensor:
    return stream[:, count:]


def add_keys_and_values(block: Block, keys: nn.Parameter, values: nn.Parameter) -> None:
    """Let a block's attention see n more keys and values, made of (n, width) each.

    They are the keys and values themselves; where the library projects keys and values out of
    reach (``nn.MultiheadAttention``), they are what its projections, which have full rank, read.
    """
    attention = block.attention
    if isinstance(attention, nn.MultiheadAttention):
        before(attention, partial(_extended, keys, values))
        return
    # Elsewhere n empty tokens go in, their keys and values are overwritten, and they come out.
    count = len(keys)
    before(attention, partial(_with_first, partial(_padded, count)))
    before(attention, partial(_with_mask, partial(widen, count=count, front=False)))
    for learned, name in ((keys, "k"), (values, "v")):
        matrix = block.matrix(name)
        after(block.module.get_submodule(matrix.module), partial(_overwritten, learned, matrix))
    after(attention, partial(_padded, -count))


def _extended(
    keys: Tensor, values: Tensor, args: tuple, kwargs: dict
) -> tuple[tuple[Tensor, ...], dict]:
    query, *others = args
    longer = (
        torch.cat([own, more.to(own.dtype).expand(len(own), -1, -1)], dim=1)
        for own, more in zip(others, (keys, values), strict=True)
    )
    return _with_mask(partial(functional.pad, pad=(0, len(keys))), (query, *longer), kwargs)


def _padded(count: int, tokens: Tensor) -> Tensor:
    """``count`` empty tokens more at the end, or so many less."""
    return functional.pad(tokens, (0, 0, 0, count))


def _overwritten(learned: Tensor, matrix: Matrix, output: Tensor) -> Tensor:
    parts = list(output.chunk(matrix.parts, dim=-1))
    kept = parts[matrix.part][:, : -len(learned)]
    new = learned.to(output.dtype).expand(len(output), -1, -1)
    parts[matrix.part] = torch.cat([kept, new], dim=1)
    return torch.cat(parts, dim=-1)


def mask_of(block: Block) -> Callable[[], Tensor | None]:
    """A function that gives, once, the mask with which a block's attention was last called."""
    held: list[Tensor] = []
    before(block.attention, partial(_hold_mask, held))
    return partial(_last, held)


def _hold_mask(held: list[Tensor], args: tuple, kwargs: dict) -> None:
    held.clear()
    _with_mask(held.append, args, kwargs)


def _last(held: list[Tensor]) -> Tensor | None:
    return held.pop() if held else None


def widen(mask: Tensor, count: int, front: bool) -> Tensor:
    """An attention mask (..., rows, L) for ``count`` more tokens, which every token sees.

    The new tokens' own rows, where a mask has a row a token, are the first token's.
    """
    length, own = mask.shape[-1], mask.shape[-2]
    seen = mask.new_full((*mask.shape[:-1], count), mask.dtype == torch.bool)
    mask = torch.cat([seen, mask] if front else [mask, seen], dim=-1)
    if own == length > 1:
        rows = mask[..., :1, :].expand(*mask.shape[:-2], count, -1)
        mask = torch.cat([rows, mask] if front else [mask, rows], dim=-2)
    return mask


# --- a reparameterised weight ----------------------------------------------------------------


def reparameterise(module: nn.Module, name: str, change: nn.Module) -> None:
    """Read ``module.name`` through ``change`` from now on; the stored weight stays as it is."""
    parametrize.register_parametrization(module, name, change, unsafe=True)


class LowRank(nn.Module):
    """``W -> W + scale * up @ down`` with ``up`` (out, r) zero at the start, ``down`` (r, in).

    Args:
        rows: where W is a part of the stored weight, which one.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, rows: slice | None = None):
        super().__init__()
        self.scale, self.rows = scale, rows or slice(0, len(weight))
        self.up = nn.Parameter(torch.zeros(self.rows.stop - self.rows.start, rank))
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        change = self.scale * (self.up @ self.down)
        if len(change) < len(weight):
            change = functional.pad(change, (0, 0, self.rows.start, len(weight) - self.rows.stop))
        return weight + change


class Scaled(nn.Module):
    """``w -> scale * w + shift`` by output, or by input (column); no shift where it is None."""

    def __init__(
        self,
        scale: nn.Parameter,
        shift: nn.Parameter | None = None,
        rows: slice | None = None,
        columns: bool = False,
    ):
        super().__init__()
        self.scale, self.shift, self.rows, self.columns = scale, shift, rows, columns

    def forward(self, weight: Tensor) -> Tensor:
        if self.columns:
            return weight * self.scale
        scaled = self.by(weight, self.scale, self.rows)
        return scaled if self.shift is None else scaled + self.shift

    @staticmethod
    def by(weight: Tensor, scale: Tensor, rows: slice | None = None) -> Tensor:
        """``weight`` with its rows, or some of them, scaled."""
        if rows is not None:
            scale = functional.pad(scale, (rows.start, len(weight) - rows.stop), value=1.0)
        return weight * scale.view(-1, *[1] * (weight.dim() - 1))


def rows_of(matrix: Matrix, stored: Tensor) -> slice:
    """The rows of the stored weight or bias that a matrix is."""
    height = len(stored) // matrix.parts
    return slice(matrix.part * height, (matrix.part + 1) * height)


# --- an activation ---------------------------------------------------------------------------


def quick_gelu(z: Tensor) -> Tensor:
    """z sigmoid(1.702 z), the form of GELU in OpenAI's CLIP."""
    return z * torch.sigmoid(1.702 * z)


# --- putting on and taking off ---------------------------------------------------------------


def before(module: nn.Module, change: Callable[[tuple, dict], Any]) -> None:
    """Change what a module is called with: (args, kwargs) -> the same, or None to leave it.

    What a closure refers to, a deep copy of the model would share with the original.
    """
    hook = partial(_of_call, change)
    _own(module, module.register_forward_pre_hook(hook, with_kwargs=True))


def after(module: nn.Module, change: Callable[[Tensor], Tensor | None]) -> None:
    """Change a module's output, the first of it where it is a tuple."""
    _own(module, module.register_forward_hook(partial(_of_output, change)))


def _of_call(change: Callable, _module: nn.Module, args: tuple, kwargs: dict) -> Any:
    return change(args, kwargs)


def _of_output(change: Callable, _module: nn.Module, _args: tuple, output: Any) -> Any:
    if not isinstance(output, tuple):
        return change(output)
    changed = change(output[0])
    return None if changed is None else (changed, *output[1:])


def is_added(model: nn.Module) -> bool:
    """Whether a computation was added to any module: a branch or tokens."""
    return any(_ADDED in module.__dict__ for module in model.modules())


def remove_all(model: nn.Module, keep_weights: bool = False) -> None:
    """Take off branches, tokens and reparameterisations.

    Args:
        keep_weights: store the weights as they are read through their reparameterisations.
    """
    for module in model.modules():
        for handle in module.__dict__.pop(_ADDED, []):
            handle.remove()
    for module in [m for m in model.modules() if parametrize.is_parametrized(m)]:
        for name in list(module.get_submodule("parametrizations")._modules):
            parametrize.remove_parametrizations(module, name, leave_parametrized=keep_weights)


_ADDED = "_rsstudy_added"


def _own(module: nn.Module, handle: Any) -> None:
    module.__dict__.setdefault(_ADDED, []).append(handle)


def _with_first(change: Callable[[Tensor], Tensor], args: tuple, kwargs: dict) -> tuple:
    return (change(args[0]), *args[1:]), kwargs


def _with_mask(change: Callable[[Tensor], Any], args: tuple, kwargs: dict) -> tuple:
    """The arguments with their attention mask changed, wherever the block's kind hands it over."""
    for name in ("attn_mask", "attention_mask"):
        if kwargs.get(name) is not None:
            return args, {**kwargs, name: change(kwargs[name])}
    # BERT hands its blocks the mask as the second argument, and open_clip, where it recomputes
    # activations, as the fourth.
    for at, given in enumerate(args[1:], start=1):
        if isinstance(given, Tensor) and (at == 3 or given.dim() == 4):
            return (*args[:at], change(given), *args[at + 1 :]), kwargs
    return args, kwargs
