"""The exported model draws what the package draws."""

import dataclasses
import functools
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_models import small_model
from torch import nn

from oasis_utils.config import DCGANConfig, VQVAEConfig
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.onnx_export import INPUTS, OUTPUTS, halved, onnx_model
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.vqvae import VQVAE

WITH_ALL = DCGANConfig(
    grid=8,
    n_codes=8,
    code_dim=4,
    n_positions=3,
    noise_dim=16,
    spatial_noise=1,
    channels=8,
    per_position=True,
    settled=True,
    age_mean=50.0,
    age_std=20.0,
)
PLAIN = dataclasses.replace(
    WITH_ALL, spatial_noise=0, per_position=False, settled=False, start="blank", age_std=0.0
)


@functools.cache
def sampler_of(config, **vqvae):
    torch.manual_seed(0)
    decoder = VQVAE(
        VQVAEConfig(image_size=32, downsampling=4, channels=32, n_codes=8, code_dim=4, **vqvae)
    )
    dcgan = DCGAN(config)
    with torch.no_grad():
        for layer in decoder.modules():  # else an untrained encoder finds one code for everything
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        if config.linear:
            for buffer in dcgan.generator.linear.buffers():
                buffer.copy_(torch.randn_like(buffer))
    return BrainSampler(decoder, dcgan)


@functools.cache
def exported(config, **vqvae):
    return onnx_model(sampler_of(config, **vqvae))


def answer(model, noise, position, age):
    inputs = dict(noise=noise, position=np.array([position]), age=np.array([age], dtype=np.float32))
    return ReferenceEvaluator(model).run(list(OUTPUTS), inputs)


@pytest.mark.parametrize(
    ("config", "ages"), [(WITH_ALL, (np.nan, 30.0, 70.0)), (PLAIN, (np.nan,) * 3)]
)
def test_it_draws_what_the_package_draws(config, ages):
    sampler = sampler_of(config, cosine=config.settled)
    model = onnx.load_from_string(exported(config, cosine=config.settled))
    onnx.checker.check_model(model)
    assert tuple(value.name for value in model.graph.input) == INPUTS
    seen = set()
    for position, age in enumerate(ages):
        seeds = [position]
        told = np.array([age], np.float32) if config.knows_age else None
        expected = sampler.sample(np.array([position]), seeds, ages=told)
        noise = sampler.prior.noise(seeds).numpy()
        image, codes = answer(model, noise, position, age)
        assert np.array_equal(codes, expected.indices[0])
        assert np.abs(image.astype(int) - expected.images[0]).max() <= 1
        seen.add(image.tobytes())
    assert len(seen) == len(ages)


def test_the_age_changes_the_slice_and_nan_leaves_the_noise():
    sampler = sampler_of(WITH_ALL, cosine=True)
    model = onnx.load_from_string(exported(WITH_ALL, cosine=True))
    noise = sampler.prior.noise([0]).numpy()
    of_noise = WITH_ALL.age_mean + WITH_ALL.age_std * noise[0, 0]
    unknown, same, other = (answer(model, noise, 1, age)[1] for age in (np.nan, of_noise, 90.0))
    assert np.array_equal(unknown, same)
    assert not np.array_equal(unknown, other)


def test_it_names_no_file_of_this_machine():
    content = exported(WITH_ALL, cosine=True)
    assert b".py" not in content


def test_another_prior_is_refused():
    sampler = BrainSampler(small_model("vqvae"), small_model("pixelcnn"))
    with pytest.raises(ValueError, match="choose prior dcgan"):
        onnx_model(sampler)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RuntimeError, match=r"oasis-vq\[page\]"):
        onnx_model(sampler_of(PLAIN))


def test_halving_changes_no_weight():
    weights = {
        "short": np.array([0.5, -2.0], np.float32),
        "long": np.array([0.1, 1.0], np.float32),
        "large": np.array([1e6, 1.0], np.float32),
        "whole": np.array([1, 2]),
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in weights]
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "weights",
        [],
        [
            helper.make_tensor_value_info(f"{n}_out", kinds[w.dtype], [2])
            for n, w in weights.items()
        ],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = halved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    onnx.checker.check_model(model)
    stored = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert stored["short_half"] == TensorProto.FLOAT16
    assert stored["long"] == stored["large"] == TensorProto.FLOAT
    found = ReferenceEvaluator(model).run(None, {})
    for value, weight in zip(found, weights.values(), strict=True):
        assert value.dtype == weight.dtype and np.array_equal(value, weight)
