"""What a processor without bf16 hardware computes in its place."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_training import RECIPE, run
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from rsstudy import devices
from rsstudy.devices import bf16_products
from rsstudy.encoders import create
from rsstudy.methods import attach, create_method
from rsstudy.objectives import named_objective


@pytest.fixture
def software(monkeypatch):
    """This processor is taken for one without bf16 hardware."""
    monkeypatch.setattr("rsstudy.devices.bf16_is_native", lambda device: False)


def factors(seed=0):
    torch.manual_seed(seed)
    images = torch.randn(4, 3, 8, 8, dtype=torch.bfloat16)
    kernel = torch.randn(16, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(24, 16, dtype=torch.bfloat16, requires_grad=True)
    bias = torch.randn(24, dtype=torch.bfloat16, requires_grad=True)
    return images, kernel, weight, bias


def computed(images, kernel, weight, bias):
    """A convolution, a layer and two products of batches, with their gradients."""
    tokens = functional.conv2d(images, kernel, stride=4).flatten(2).transpose(1, 2)
    wide = functional.linear(tokens.reshape(-1, 16), weight, bias).view(4, -1, 24)
    product = torch.baddbmm(wide[:, :, :4], wide, wide[:, :4].transpose(1, 2))
    product = product @ product.transpose(1, 2)
    return product, *torch.autograd.grad(product.float().sum(), (kernel, weight, bias))


def test_products_of_bf16_and_their_gradients_are_torchs_own_to_its_rounding(software):
    own = computed(*factors())
    with Products() as seen, bf16_products(torch.device("cpu")):
        ours = computed(*factors())
    assert seen.types == {torch.float32} and seen.names == set(PRODUCTS)
    for found, expected in zip(ours, own, strict=True):
        assert found.dtype == torch.bfloat16
        error = (found.float() - expected.float()).norm() / expected.float().norm()
        assert error < 2**-8


def test_a_product_is_that_of_fp32_rounded_once(software):
    left, right = (torch.randn(9, 700).bfloat16() for _ in range(2))
    with bf16_products(torch.device("cpu")):
        found = left @ right.T
        in_fp32 = left.float() @ right.float().T
    assert in_fp32.dtype == torch.float32
    assert torch.equal(found, in_fp32.bfloat16())


@pytest.mark.parametrize(("ratio", "native"), [(0.2, True), (1.1, True), (1.8, False)])
def test_bf16_instructions_slower_than_those_of_fp32_are_not_used(ratio, native, monkeypatch):
    """The clock and the instructions are made up."""
    taken = iter([ratio, 1.0])
    monkeypatch.setattr("timeit.repeat", lambda *_, **__: [9.0, next(taken), 9.0])
    own = SimpleNamespace(mkldnn=SimpleNamespace(_is_mkldnn_bf16_supported=lambda: True))
    monkeypatch.setattr(devices.torch, "ops", own)
    monkeypatch.setattr(devices, "_fp32_is_faster", devices._fp32_is_faster.__wrapped__)
    assert devices.bf16_is_native(torch.device("cpu")) == native


def test_hardware_computes_where_there_is_some(monkeypatch):
    monkeypatch.setattr("rsstudy.devices.bf16_is_native", lambda device: True)
    before = torch.utils._python_dispatch._len_torch_dispatch_stack()
    with bf16_products(torch.device("cpu")):
        assert torch.utils._python_dispatch._len_torch_dispatch_stack() == before


PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")


class Products(TorchDispatchMode):
    """Notes the types that are multiplied at last."""

    def __init__(self):
        super().__init__()
        self.types, self.names = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in PRODUCTS:
            self.names.add(func.overloadpacket.__name__)
            self.types |= {value.dtype for value in args if isinstance(value, torch.Tensor)}
        return func(*args, **(kwargs or {}))


def test_a_step_in_bf16_and_its_gradients_multiply_no_bf16_in_software(small, software):
    encoder = create("tiny@random")
    attach(encoder, create_method("full"))
    with Products() as seen:
        recipe = replace(RECIPE, epochs=1, precision="bf16")
        run(encoder, small, named_objective("infonce"), recipe)
    assert seen.types == {torch.float32}
