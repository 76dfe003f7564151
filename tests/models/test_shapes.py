"""Shapes and parameters of the blocks of built models."""

import dataclasses

import pytest
import torch
from small_dcgan import changed
from small_pixelcnn import AGES
from small_pixelcnn import tiny as tiny_pixelcnn
from torch import nn

from oasis_utils.config import PROFILES, VQVAEConfig
from oasis_utils.models import DCGAN, VQVAE, block_shapes, shape_table

SMALL = dict(image_size=64, channels=64, residual_blocks=2, n_codes=8, code_dim=4)
MODELS = {
    **{f"vqvae {f}": lambda f=f: VQVAE(VQVAEConfig(downsampling=f, **SMALL)) for f in (4, 8, 16)},
    "vqvae discriminator": lambda: VQVAE(VQVAEConfig(adversarial_weight=0.5, **SMALL)),
    "vqvae gradient": lambda: VQVAE(VQVAEConfig(codebook="gradient", **SMALL)),
    "dcgan": lambda: DCGAN(changed()),
    "dcgan noise": lambda: DCGAN(changed(spatial_noise=2, **AGES)),
    "dcgan blank": lambda: DCGAN(changed(start="blank")),
    "dcgan index": lambda: DCGAN(changed(space="index", loss="bce")),
    "pixelcnn": tiny_pixelcnn,
    "pixelcnn layout": lambda: tiny_pixelcnn(layout=4, code_dim=3),
    "pixelcnn ages": lambda: tiny_pixelcnn(**AGES),
    "pixelcnn all": lambda: tiny_pixelcnn(layout=4, code_dim=3, **AGES),
    "pixelcnn short": lambda: tiny_pixelcnn(blocks=1),
}


@pytest.fixture(params=MODELS)
def any_model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


def of_part(blocks, part):
    return [block for block in blocks if block.part == part]


def test_parameters_sum_to_those_of_the_model(any_model):
    blocks = block_shapes(any_model)
    assert sum(block.parameters for block in blocks) == sum(
        parameter.numel() for parameter in any_model.parameters()
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["vqvae", "dcgan"])
def test_models_of_the_profiles_are_covered(profile, name):
    config = getattr(PROFILES[profile], name)
    model = {"vqvae": VQVAE, "dcgan": DCGAN}[name](config)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(block.parameters for block in block_shapes(model)) == total


def test_the_model_is_left_as_it_was(any_model):
    any_model.train()
    for i, module in enumerate(any_model.modules()):
        module.training = i % 3 != 0
    if isinstance(any_model, VQVAE):
        any_model.quantizer.uses.fill_(3)
    modes = [module.training for module in any_model.modules()]
    before = {name: value.clone() for name, value in any_model.state_dict().items()}
    state = torch.get_rng_state()
    block_shapes(any_model)
    assert [module.training for module in any_model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[k]) for k, value in any_model.state_dict().items())
    assert not any(module._forward_hooks for module in any_model.modules())
    assert all(parameter.grad is None for parameter in any_model.parameters())
    if isinstance(any_model, VQVAE):
        assert (any_model.quantizer.uses == 3).all()


def test_a_failure_leaves_no_hooks(monkeypatch):
    model = MODELS["vqvae 4"]().train()

    def fail(_codes):
        raise RuntimeError("no decoder")

    monkeypatch.setattr(model, "decode", fail)
    with pytest.raises(RuntimeError, match="no decoder"):
        block_shapes(model)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def subsequence(short, long):
    remaining = iter(long)
    return all(item in remaining for item in short)


def by_hand(layers, x):
    shapes = []
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
            shapes.append(tuple(x.shape[1:]))
    return shapes


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_shapes_of_a_vqvae_are_those_of_its_layers(factor):
    model = MODELS[f"vqvae {factor}"]()
    blocks, grid = block_shapes(model), 64 // factor
    encoded = by_hand(model.encoder, torch.rand(1, 1, 64, 64))
    decoded = by_hand(model.decoder, torch.rand(1, 4, grid, grid))
    for part, shapes in (("encoder", encoded), ("decoder", decoded)):
        found = [block.shape for block in of_part(blocks, part)]
        assert subsequence(found, shapes) and found[-1] == shapes[-1]
    assert [block.shape for block in of_part(blocks, "codebook")] == [(grid, grid)]
    assert encoded[-1] == (4, grid, grid) and decoded[-1] == (1, 64, 64)


def test_shapes_of_a_dcgan_are_those_of_its_layers():
    model = MODELS["dcgan noise"]()
    config, blocks = model.config, block_shapes(model)
    generator, discriminator = of_part(blocks, "generator"), of_part(blocks, "discriminator")
    base, channels = config.grid // 4, config.channels
    coarse = next(block for block in generator if block.name == "linear")
    assert coarse.shape == (4 * channels, base, base)
    maps = model.generator(torch.randn(1, config.noise_size), torch.tensor([1]))
    assert generator[-1].shape == tuple(maps.shape[1:])
    doubled = [block.shape[1] for block in generator if block.name == "double grid"]
    assert doubled == [2 * base, 4 * base]
    both = torch.cat([maps, maps], dim=1)
    shapes = by_hand(model.discriminator.layers, both)
    rows = [block.shape for block in discriminator if block.name.startswith(("conv", "halve"))]
    assert subsequence(rows, shapes) and discriminator[-1].shape == (1,)


def test_shapes_of_a_pixelcnn_are_those_of_its_stacks():
    model = MODELS["pixelcnn all"]()
    blocks, config = block_shapes(model), model.config
    cells = (config.grid, config.grid)
    logits = model(torch.zeros(1, *cells, dtype=torch.long), torch.tensor([0]))
    assert blocks[-1].shape == tuple(logits.shape[1:])
    gated = of_part(blocks, "blocks")
    assert [block.shape for block in gated] == [(config.channels, *cells)] * config.blocks
    told = {block.name: block.shape for block in of_part(blocks, "input")}
    assert told["embedding"] == (config.channels, *cells)
    assert told["layout"] == told["cell bias"] == (2 * config.channels, *cells)
    assert told["age"] == (config.age_features,)


def test_a_table_has_a_row_for_each_block_and_the_sum(any_model):
    blocks = block_shapes(any_model)
    rows = shape_table(blocks)
    assert len(rows) == len(blocks) + 1
    total = sum(parameter.numel() for parameter in any_model.parameters())
    assert rows["**sum**"] == {"parameters": f"**{total:,}**"}
    *_, last = list(rows.values())[:-1]
    assert last["output"] == "×".join(map(str, blocks[-1].shape))


def test_rows_are_frozen_and_other_models_refused():
    block = block_shapes(MODELS["pixelcnn"]())[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        block.name = "other"
    with pytest.raises(TypeError, match="not a Linear"):
        block_shapes(nn.Linear(1, 1))
