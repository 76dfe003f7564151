"""Configurations: JSON round trips, refusals, digests and the agreement of a profile's parts."""

import dataclasses
import json

import pytest

from oasis_utils import config
from oasis_utils.config import (
    PROFILES,
    CodesConfig,
    DataConfig,
    DCGANConfig,
    EvaluationConfig,
    NeighbourConfig,
    PixelCNNConfig,
    Profile,
    TrainingConfig,
    VQVAEConfig,
)

KINDS = [
    DataConfig,
    VQVAEConfig,
    PixelCNNConfig,
    NeighbourConfig,
    DCGANConfig,
    TrainingConfig,
    CodesConfig,
    EvaluationConfig,
]
# one valid change for every field whose plain increment would be refused
CHANGES = {
    "image_size": 256,
    "downsampling": 16,
    "first_kernel": 9,
    "kernel": 5,
    "grid": 20,
    "fit_crop": False,
    "cosine": True,
    "crop_margin": 0.1,
    "betas": (0.5, 0.9),
    "codebook_decay": 0.5,
    "dropout": 0.3,
    "ema_decay": 0.7,
    "top_p": 0.5,
    "revive_below": 0.5,
    "final_rate": 0.5,
    "age_dropout": 0.5,
    "pixel_loss": "mse",
    "codebook": "gradient",
    "kmeans": False,
    "gradient": "rotation",
    "space": "index",
    "DCGANConfig.start": "blank",
    "PixelCNNConfig.start": "codebook",
    "NeighbourConfig.start": "codebook",
    "neighbour_noise": 0.5,
    "per_position": True,
    "settled": True,
    "loss": "bce",
    "penalty_share": 0.5,
}
FIELDS = [(kind, field.name) for kind in KINDS for field in dataclasses.fields(kind)]


def changed(kind, name):
    default = kind()
    of_kind = CHANGES.get(f"{kind.__name__}.{name}", CHANGES.get(name))
    value = getattr(default, name) + 1 if of_kind is None else of_kind
    assert value != getattr(default, name)
    return dataclasses.replace(default, **{name: value})


def through_json(values):
    return json.loads(json.dumps(values))


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_field_survives_a_json_round_trip(kind, name):
    value = changed(kind, name)
    assert config.from_dict(kind, through_json(config.to_dict(value))) == value


@pytest.mark.parametrize("name", PROFILES)
def test_every_part_of_every_profile_survives_a_json_round_trip(name):
    profile = config.load_profile(name)
    stored = through_json(config.to_dict(profile))
    assert (
        set(stored) == {f.name for f in dataclasses.fields(Profile)} and stored.pop("name") == name
    )
    for part, values in stored.items():
        original = getattr(profile, part)
        assert config.from_dict(type(original), values) == original


@pytest.mark.parametrize("name", PROFILES)
def test_a_whole_profile_survives_a_json_round_trip(name):
    profile = config.load_profile(name)
    assert config.from_dict(Profile, through_json(config.to_dict(profile))) == profile


def test_to_dict_holds_plain_json_types_only():
    values = config.to_dict(PROFILES["smoke"])
    assert values == through_json(values)
    assert values["dcgan_training"]["betas"] == list(PROFILES["smoke"].dcgan_training.betas)


def test_a_loaded_configuration_equals_and_hashes_like_the_original():
    value = TrainingConfig(betas=(0.1, 0.2))
    loaded = config.from_dict(TrainingConfig, config.to_dict(value))
    assert hash(loaded) == hash(value) and isinstance(loaded.betas, tuple)


@pytest.mark.parametrize("kind", [*KINDS, Profile])
def test_configurations_are_frozen(kind):
    value = PROFILES["smoke"] if kind is Profile else kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(kind)[0].name, 1)


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("downsampling", [4, 8, 16])
def test_grid_is_image_size_over_downsampling(size, downsampling):
    assert VQVAEConfig(image_size=size, downsampling=downsampling).grid * downsampling == size


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (
            DataConfig,
            {"image_size": 100},
            "image_size must be a multiple of 16 and at least 32, not 100",
        ),
        (
            DataConfig,
            {"image_size": 16},
            "image_size must be a multiple of 16 and at least 32, not 16",
        ),
        (DataConfig, {"image_size": 0}, "at least 32, not 0"),
        (DataConfig, {"crop_margin": -0.01}, "crop_margin"),
        (DataConfig, {"crop_margin": 0.5}, r"crop_margin is a fraction in \[0, 0.5\), not 0.5"),
        (VQVAEConfig, {"downsampling": 2}, "downsampling must be 4, 8 or 16, not 2"),
        (
            VQVAEConfig,
            {"downsampling": 12, "image_size": 96},
            "downsampling must be 4, 8 or 16, not 12",
        ),
        (
            VQVAEConfig,
            {"gradient": "none"},
            "gradient must be straight-through or rotation, not none",
        ),
        (VQVAEConfig, {"codebook": "fixed"}, "codebook must be ema or gradient, not fixed"),
        (
            VQVAEConfig,
            {"cosine": True, "codebook": "gradient"},
            "use codebook=ema, or cosine=False",
        ),
        (VQVAEConfig, {"image_size": 100}, "image_size 100 is not a multiple of downsampling 8"),
        (VQVAEConfig, {"n_codes": 1}, "n_codes must be at least 2, not 1"),
        (VQVAEConfig, {"codebook_decay": 1.0}, r"codebook_decay must be in \[0, 1\), not 1.0"),
        (VQVAEConfig, {"codebook_decay": -0.1}, "codebook_decay"),
        (PixelCNNConfig, {"blocks": 0}, "blocks must be at least 1, not 0"),
        (PixelCNNConfig, {"first_kernel": 6}, "kernels must be odd"),
        (PixelCNNConfig, {"kernel": 2}, "kernels must be odd"),
        (PixelCNNConfig, {"dropout": 1.0}, r"dropout must be in \[0, 1\), not 1.0"),
        (PixelCNNConfig, {"dropout": -0.5}, "dropout"),
        (PixelCNNConfig, {"age_dropout": 1.0}, r"age_dropout must be in \[0, 1\), not 1.0"),
        (PixelCNNConfig, {"age_std": -1.0}, "age_std is a spread in years, 0 or more, not -1.0"),
        (DCGANConfig, {"grid": 18}, "grid must be a multiple of 4, not 18"),
        (DCGANConfig, {"space": "pixels"}, "space must be embedding or index, not 'pixels'"),
        (DCGANConfig, {"loss": "wgan"}, "loss must be relativistic or bce, not 'wgan'"),
        (DCGANConfig, {"penalty_share": 0.0}, r"penalty_share must be in \(0, 1\], not 0.0"),
        (TrainingConfig, {"epochs": 0}, "epochs must be at least 1, not 0"),
        (TrainingConfig, {"batch_size": 0}, "batch_size must be at least 1, not 0"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning_rate must be positive, not 0.0"),
        (TrainingConfig, {"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), not 1.0"),
        (TrainingConfig, {"ema_decay": -0.1}, "ema_decay"),
        (TrainingConfig, {"betas": (0.9,)}, "betas are two numbers"),
        (TrainingConfig, {"betas": (0.9, 1.0)}, "betas are two numbers"),
        (TrainingConfig, {"validate_every": 0}, "validate_every must be in"),
        (TrainingConfig, {"clip_norm": -1.0}, "clip_norm must be in"),
        (VQVAEConfig, {"n_codes": 65_537}, r"n_codes must be in \[2, 65536\], not 65537"),
        (VQVAEConfig, {"channels": 10**9}, "channels must be in"),
        (VQVAEConfig, {"ssim_weight": float("nan")}, "ssim_weight must be in"),
        (PixelCNNConfig, {"grid": 10**6}, "grid must be in"),
        (DCGANConfig, {"noise_dim": 0}, "noise_dim must be in"),
        (CodesConfig, {"variants": 0}, "variants must be in"),
        (EvaluationConfig, {"n_images": 0}, "n_images must be in"),
        (EvaluationConfig, {"temperature": -1.0}, "temperature must be in"),
        (EvaluationConfig, {"top_p": 0.0}, r"top_p must be in \(0, 1\], not 0.0"),
    ],
)
def test_bad_values_are_refused_with_a_message(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (DataConfig, {"image_size": 32, "crop_margin": 0.0}),
        (VQVAEConfig, {"n_codes": 2, "codebook_decay": 0.0}),
        (PixelCNNConfig, {"blocks": 1, "kernel": 1, "dropout": 0.0}),
        (DCGANConfig, {"grid": 4}),
        (TrainingConfig, {"epochs": 1, "batch_size": 1, "ema_decay": 0.0}),
    ],
)
def test_values_at_the_edge_are_taken(kind, values):
    assert {name: getattr(kind(**values), name) for name in values} == values


@pytest.mark.parametrize("kind", KINDS)
def test_from_dict_names_the_fields_it_does_not_know(kind):
    values = config.to_dict(kind()) | {"width": 1, "depth": 2}
    with pytest.raises(
        ValueError, match=f"{kind.__name__} has no field depth, width: .*another version"
    ):
        config.from_dict(kind, values)


def test_from_dict_checks_the_values():
    with pytest.raises(ValueError, match="n_codes must be at least 2"):
        config.from_dict(VQVAEConfig, config.to_dict(VQVAEConfig()) | {"n_codes": 1})


def test_from_dict_fills_missing_fields_with_defaults():
    assert config.from_dict(DCGANConfig, {"grid": 8}) == DCGANConfig(grid=8)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_digest_changes_with_every_field(kind, name):
    assert config.digest(changed(kind, name)) != config.digest(kind())


@pytest.mark.parametrize("part", [f.name for f in dataclasses.fields(Profile)])
def test_digest_of_a_profile_changes_with_every_part(part):
    base = PROFILES["smoke"]
    change = {
        "name": "other",
        "data": dataclasses.replace(base.data, crop_margin=0.3),
        "vqvae": dataclasses.replace(base.vqvae, commitment=7.0),
        "codes": dataclasses.replace(base.codes, variants=99),
        "pixelcnn": dataclasses.replace(base.pixelcnn, hidden=99),
        "neighbour": dataclasses.replace(base.neighbour, neighbour_noise=0.99),
        "dcgan": dataclasses.replace(base.dcgan, gamma=99.0),
        "evaluation": dataclasses.replace(base.evaluation, bootstrap=99),
    }
    value = (
        change[part]
        if part in change
        else dataclasses.replace(getattr(base, part), warmup_steps=999)
    )
    assert config.digest(dataclasses.replace(base, **{part: value})) != config.digest(base)


def test_digest_is_stable():
    assert config.digest({"b": [1, 2.5], "a": None}) == "6b1d84977084"
    assert config.digest({"a": None, "b": [1, 2.5]}) == config.digest({"b": [1, 2.5], "a": None})


@pytest.mark.parametrize("kind", KINDS)
def test_digest_is_the_same_for_a_configuration_and_its_dictionary(kind):
    digest = config.digest(kind())
    assert digest == config.digest(kind()) == config.digest(config.to_dict(kind()))
    assert len(digest) == 12 and set(digest) <= set("0123456789abcdef")


def test_profiles_have_distinct_digests_and_their_own_names():
    assert len({config.digest(profile) for profile in PROFILES.values()}) == len(PROFILES)
    assert set(PROFILES) == {"smoke", "demo", "large", "full"}
    assert all(config.load_profile(name).name == name for name in PROFILES)


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown profile 'huge': choose one of smoke, demo, large, full"
    ):
        config.load_profile("huge")


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("data", {"image_size": 256}, "data and vqvae disagree on image_size"),
        ("pixelcnn", {"grid": 20}, "the priors' grid must be 16"),
        ("dcgan", {"grid": 20}, "the priors' grid must be 16"),
        ("pixelcnn", {"n_codes": 99}, "pixelcnn.n_codes must be 256"),
        ("dcgan", {"n_codes": 99}, "dcgan needs n_codes=256 and code_dim=16"),
        ("dcgan", {"code_dim": 99}, "dcgan needs n_codes=256 and code_dim=16"),
        ("vqvae", {"downsampling": 16}, "the priors' grid must be 8"),
        ("vqvae", {"n_codes": 64}, "pixelcnn.n_codes must be 64"),
        ("vqvae", {"code_dim": 4}, "dcgan needs n_codes=256 and code_dim=4"),
    ],
)
def test_a_profile_whose_parts_disagree_is_refused(part, changes, message):
    parts = {
        "data": DataConfig(image_size=128),
        "pixelcnn": PixelCNNConfig(grid=16, n_codes=256),
        "vqvae": VQVAEConfig(image_size=128, downsampling=8, n_codes=256, code_dim=16),
        "dcgan": DCGANConfig(grid=16, n_codes=256, code_dim=16),
    }
    assert Profile("agreed", **parts).vqvae.grid == 16
    with pytest.raises(ValueError, match=message):
        Profile("changed", **parts | {part: dataclasses.replace(parts[part], **changes)})


def test_override_keeps_what_is_none():
    base = TrainingConfig(epochs=7)
    assert config.override(base, epochs=None, batch_size=None) == base


def test_override_takes_zero_as_a_value():
    assert config.override(TrainingConfig(patience=3), patience=0).patience == 0
    assert config.override(EvaluationConfig(), temperature=0.0).temperature == 0.0
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        config.override(TrainingConfig(), epochs=0)


def test_override_changes_a_copy_and_checks_it():
    base = TrainingConfig(epochs=7)
    assert config.override(base, epochs=3, batch_size=None) == dataclasses.replace(base, epochs=3)
    assert base.epochs == 7
    with pytest.raises(ValueError, match="epochs must be at least 1, not -1"):
        config.override(base, epochs=-1)


def test_override_refuses_unknown_fields():
    with pytest.raises(TypeError, match="epoch"):
        config.override(TrainingConfig(), epoch=3)


@pytest.mark.parametrize("model", ["vqvae", "pixelcnn", "dcgan"])
@pytest.mark.parametrize("name", PROFILES)
def test_fewer_samples_keep_the_steps_and_validations_and_more_the_epochs(name, model):
    profile = config.load_profile(name)
    usual = profile.data.train_subjects * 32 * (1 if model == "vqvae" else profile.codes.variants)
    schedule = getattr(profile, f"{model}_training")
    planned = schedule.epochs * max(usual // schedule.batch_size, 1)
    assert profile.schedule(model, usual) == profile.schedule(model, 10 * usual) == schedule
    for samples in (1, usual // 7 + 1, usual // 2, usual - schedule.batch_size):
        batches = max(samples // schedule.batch_size, 1)
        given = profile.schedule(model, samples)
        assert abs(given.epochs * batches - planned) <= batches / 2
        validations = given.epochs / given.validate_every
        assert validations < 2 * schedule.epochs / schedule.validate_every + 1
        again = profile.schedule(model, samples, epochs=given.epochs, batch_size=None)
        assert again == given  # as `train` computes it for a notebook
    assert profile.schedule(model, usual, epochs=3) == dataclasses.replace(schedule, epochs=3)
