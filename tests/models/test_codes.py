"""Encoding a data set: identities, and the round trip of the file."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from oasis_utils.config import SPLITS, CodesConfig, DataConfig, VQVAEConfig
from oasis_utils.data.dataset import Dataset, build_cache
from oasis_utils.models import codes as codes_module
from oasis_utils.models.codes import (
    CodeMaps,
    decode_maps,
    describe,
    encode_dataset,
    encode_images,
    load_codes,
    save_codes,
    to_uint8,
)
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import DataError

CONFIG = CodesConfig(variants=4, max_shift=2)


CPU = torch.device("cpu")


def make_vqvae(seed=0, n_codes=16):
    """An untrained VQ-VAE whose codes lie among the latents, so that slices use many of them."""
    torch.manual_seed(seed)
    vqvae = VQVAE(
        VQVAEConfig(
            image_size=32,
            downsampling=4,
            channels=32,
            residual_blocks=1,
            n_codes=n_codes,
            code_dim=4,
        )
    )
    with torch.no_grad():
        vqvae.train().quantize(vqvae.encode(torch.from_numpy(discs(range(12)))[:, None] / 255))
    return vqvae.eval()


def discs(numbers):
    """Bright discs off the middle, one for each number: no slice is its own mirror image."""
    y, x = np.mgrid[:32, :32]
    return np.stack(
        [
            np.where((y - 14) ** 2 + (x - 12 - n % 5) ** 2 < 60 + 8 * n, 90 + 9 * n, 0)
            for n in numbers
        ]
    ).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("slices")
    for split, subjects in {"train": (1, 2, 3), "validate": (4,), "test": (5,)}.items():
        folder = root / "tree" / f"keras_png_slices_{split}"
        folder.mkdir(parents=True)
        for subject in subjects:
            for position, picture in enumerate(discs([subject, subject + 5])):
                Image.fromarray(picture).save(
                    folder / f"case_{subject:03d}_slice_{position}.nii.png"
                )
    return build_cache(root / "tree", root / "cache", DataConfig(image_size=32))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "codes.npz"


# ---------------------------------------------------------------- encoding


def test_images_are_encoded_as_the_vqvae_does_it(monkeypatch):
    vqvae, images = make_vqvae(), discs(range(5))
    expected = vqvae.encode_indices(torch.from_numpy(images)[:, None] / 255)
    whole = encode_images(vqvae, images, CPU)
    assert whole.dtype == np.uint16
    assert np.array_equal(whole, expected.numpy())
    assert len(np.unique(whole)) > 1
    monkeypatch.setattr(codes_module, "CODED_AT_ONCE", 2)
    assert np.array_equal(encode_images(vqvae, images, CPU), whole)


def test_maps_are_decoded_as_the_vqvae_does_it(monkeypatch):
    vqvae = make_vqvae()
    maps = encode_images(vqvae, discs(range(5)), CPU)
    with torch.inference_mode():
        expected = to_uint8(vqvae.decode_indices(torch.from_numpy(maps.astype(np.int64)))[:, 0])
    whole = decode_maps(vqvae, maps)
    assert np.array_equal(whole, expected) and len(np.unique(whole)) > 10
    monkeypatch.setattr(codes_module, "CODED_AT_ONCE", 2)
    assert (
        np.abs(decode_maps(vqvae, maps).astype(int) - whole).max() <= 1
    )  # sums of floats, rounded


def test_floats_become_grey_levels():
    levels = to_uint8(torch.tensor([-0.5, 0.0, 0.4999, 1.0, 1.5]))
    assert levels.tolist() == [0, 0, 127, 255, 255] and levels.dtype == np.uint8


def test_change_is_applied_before_encoding():
    vqvae, images = make_vqvae(), discs(range(5))
    flipped = encode_images(vqvae, images, CPU, lambda batch, _rows: batch.flip(-1))
    assert np.array_equal(flipped, encode_images(vqvae, images[:, :, ::-1].copy(), CPU))
    assert not np.array_equal(flipped, encode_images(vqvae, images, CPU))


def test_data_set_is_encoded_with_all_variants(dataset, path):
    vqvae = make_vqvae()
    dataset = with_mid_line(dataset)  # discs have none of their own
    codes = encode_dataset(vqvae, dataset, CONFIG, path, CPU)
    train = dataset.split("train")
    assert codes.indices["train"].shape == (4 * 6, 8, 8) and codes.n_codes == 16
    for split in ("validate", "test"):
        assert np.array_equal(
            codes.indices[split], encode_images(vqvae, dataset.split(split).images, CPU)
        )
    plain, mirrored = codes.indices["train"][:6], codes.indices["train"][6:12]
    assert np.array_equal(plain, encode_images(vqvae, train.images, CPU))
    assert np.array_equal(
        mirrored, encode_images(vqvae, np.array(train.images)[:, :, ::-1].copy(), CPU)
    )
    assert np.array_equal(codes.positions["train"], np.tile(train.positions, 4))
    assert np.array_equal(codes.subjects["train"], np.tile(train.subjects, 4))


def test_tensors_for_the_priors(dataset, path):
    codes = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    tensors = codes.to("test", CPU)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "indices": torch.int64,
        "positions": torch.int64,
        "subjects": torch.int64,
        "ages": torch.float32,
    }
    assert np.array_equal(tensors["indices"].numpy(), codes.indices["test"])
    assert tensors["positions"].tolist() == [0, 1]


def equal(a: CodeMaps, b: CodeMaps) -> bool:
    same = all(
        np.array_equal(getattr(a, kind)[split], getattr(b, kind)[split])
        for kind in ("indices", "positions", "subjects")
        for split in SPLITS
    )
    same = same and all(
        np.array_equal(a.ages[split], b.ages[split], equal_nan=True) for split in SPLITS
    )
    return same and a.about == b.about


def test_encoding_repeats_with_the_same_seed_only(dataset, tmp_path):
    def made(name, seed):
        return encode_dataset(make_vqvae(), dataset, CONFIG, tmp_path / name, CPU, seed)

    first, again, other = made("a.npz", 1), made("b.npz", 1), made("c.npz", 2)
    assert equal(first, again)
    assert not np.array_equal(first.indices["train"], other.indices["train"])
    assert first.identity == again.identity != other.identity


def with_mid_line(dataset, axis=-1):
    return Dataset(dataset.folder, dataset.manifest | {"symmetry": {"axis": axis}}, dataset.arrays)


def test_shifted_maps_do_not_depend_on_the_batch_size(dataset, tmp_path, monkeypatch):
    made = []
    for size in (64, 1, 4):
        monkeypatch.setattr(codes_module, "CODED_AT_ONCE", size)
        made.append(encode_dataset(make_vqvae(), dataset, CONFIG, tmp_path / f"{size}.npz", CPU))
    assert equal(made[0], made[1]) and equal(made[0], made[2])


def test_slices_of_a_session_are_shifted_alike(dataset, path, monkeypatch):
    seen, plain = [], codes_module.shifted

    def watched(images, rows, cols):
        seen.append((len(images), rows, cols))
        return plain(images, rows, cols)

    monkeypatch.setattr(codes_module, "shifted", watched)
    encode_dataset(make_vqvae(), with_mid_line(dataset), CONFIG, path, CPU)
    assert [n for n, _, _ in seen] == [2] * 6  # three sessions in two variants
    assert len({(rows, cols) for _, rows, cols in seen}) > 2


def test_only_shifted_maps_say_how_they_are_shifted(dataset):
    """Maps without shifts are those of earlier versions, so they stay valid."""
    known = {"format", "n_codes", "grid", "variants", "max_shift", "vqvae", "data", "seed"}
    for axis, most in ((-1, 2), (None, 1)):  # variants that need no shift
        for n in (1, 2, 3, 6):
            about = describe(make_vqvae(), with_mid_line(dataset, axis), CodesConfig(n, 2), 0)
            assert set(about) == known | ({"shifts"} if n > most else set())


# ---------------------------------------------------------------- load or encode


def test_up_to_date_maps_are_loaded(dataset, path, monkeypatch, capsys):
    first = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    monkeypatch.setattr(codes_module, "encode_images", lambda *_: pytest.fail("encoded again"))
    assert equal(encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU), first)
    assert "loaded codes.npz" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        dict(vqvae=make_vqvae(1)),
        dict(seed=1),
        dict(config=CodesConfig(variants=3, max_shift=2)),
        dict(config=CodesConfig(variants=4, max_shift=1)),
    ],
)
def test_outdated_maps_are_made_again(dataset, path, change):
    arguments = {
        "vqvae": make_vqvae(),
        "dataset": dataset,
        "config": CONFIG,
        "path": path,
        "device": CPU,
    }
    old = encode_dataset(**arguments)
    new = encode_dataset(**{**arguments, **change})
    assert not equal(new, old)
    assert equal(load_codes(path), new)
    assert new.identity != old.identity


def test_one_weight_of_the_vqvae_makes_the_maps_outdated(dataset):
    vqvae = make_vqvae()
    before = describe(vqvae, dataset, CONFIG, 0)
    with torch.no_grad():
        next(vqvae.encoder.parameters())[0, 0, 0, 0] += 1e-3
    assert describe(vqvae, dataset, CONFIG, 0) != before


def test_a_raised_version_of_the_code_alone_leaves_the_maps_valid(dataset, monkeypatch):
    """The maps follow from the weights; a training of the new version gives others."""
    vqvae = make_vqvae()
    before = describe(vqvae, dataset, CONFIG, 0)
    monkeypatch.setattr(type(vqvae), "version", 99)
    assert describe(vqvae, dataset, CONFIG, 0) == before


def test_file_round_trip(path):
    rng = np.random.default_rng(0)
    sizes = {"train": 4, "validate": 2, "test": 3}
    codes = CodeMaps(
        {s: rng.integers(0, 500, (n, 4, 4)).astype(np.uint16) for s, n in sizes.items()},
        {s: np.arange(n) for s, n in sizes.items()},
        {s: np.arange(n) + 90 for s, n in sizes.items()},
        {s: np.linspace(20, 90, n).astype(np.float32) for s, n in sizes.items()},
        dict(format=codes_module.CODES_FORMAT, n_codes=500, grid=4, variants=2, vqvae="ü"),
    )
    save_codes(path, codes)
    loaded = load_codes(path)
    assert equal(loaded, codes)
    assert loaded.indices["train"].dtype == np.uint16
    assert loaded.identity == codes.identity


def test_missing_file_names_the_notebook(path):
    with pytest.raises(
        FileNotFoundError, match="codes.npz is missing: run notebook 03_codebook_analysis"
    ):
        load_codes(path)


def test_failed_save_keeps_the_old_maps(dataset, path, monkeypatch):
    first = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)

    def no_disk(*_args, **_arrays):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", no_disk)
        with pytest.raises(OSError, match="no space"):
            encode_dataset(make_vqvae(1), dataset, CONFIG, path, CPU)
    assert equal(load_codes(path), first)


# ---------------------------------------------------------------- ages


def with_ages(dataset, ages):
    """The same slices with the ages of their subjects, in the order of the manifest."""
    subjects = [
        {**entry, "age": age} for entry, age in zip(dataset.manifest["subjects"], ages, strict=True)
    ]
    return dataclasses.replace(dataset, manifest={**dataset.manifest, "subjects": subjects})


def test_ages_go_with_their_slices(dataset, path):
    codes = encode_dataset(
        make_vqvae(), with_ages(dataset, [20.0, None, 60.0, 33.0, 44.0]), CONFIG, path, CPU
    )
    nan = np.nan
    assert np.array_equal(
        codes.ages["train"], np.tile([20, 20, nan, nan, 60, 60], 4), equal_nan=True
    )
    assert codes.to("test", CPU)["ages"].tolist() == [44, 44]
    assert equal(load_codes(path), codes)
    assert codes.age_scale() == {
        "age_mean": 40.0,
        "age_std": 20.0,
    }  # of training subjects, each counted once


@pytest.mark.parametrize(
    "ages", [[None] * 5, [30.0, None, None, 50.0, 60.0], [30.0, 30.0, 30.0, 50.0, 60.0]]
)
def test_without_two_ages_there_is_no_scale(dataset, path, ages):
    codes = encode_dataset(make_vqvae(), with_ages(dataset, ages), CONFIG, path, CPU)
    assert codes.age_scale() == {"age_mean": 0.0, "age_std": 0.0}


def test_maps_of_an_earlier_version_are_made_again(dataset, path):
    new = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    about = {name: value for name, value in new.about.items() if name != "format"}
    with np.load(path) as file:
        arrays = {name: file[name] for name in file if not name.startswith(("about", "ages"))}
    np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)
    with pytest.raises(
        DataError, match="another version of oasis_utils .*run notebook 03_codebook_analysis again"
    ):
        load_codes(path)
    assert equal(encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU), new)
    assert equal(load_codes(path), new)


def test_some_maps_are_a_random_sample_of_whole_rows_from_all_subjects():
    n = 40
    maps = np.broadcast_to(np.arange(n, dtype=np.uint16)[:, None, None], (n, 2, 2)).copy()
    same = {"train": np.arange(n)}
    codes = CodeMaps(
        {"train": maps}, same, same, {"train": np.arange(n, dtype=np.float32)}, {"n_codes": 64}
    )
    found = codes.some("train", CPU, 16, seed=1)
    rows = found["subjects"].tolist()
    assert (
        len(set(rows)) == 16 and rows == sorted(rows) and max(rows) > 30 and rows != list(range(16))
    )
    assert (
        found["indices"][:, 0, 0].tolist()
        == found["positions"].tolist()
        == found["ages"].tolist()
        == rows
    )
    assert codes.some("train", CPU, 16, seed=2)["subjects"].tolist() != rows
    assert codes.some("train", CPU, 100)["subjects"].tolist() == list(range(n))


def test_plain_maps_are_the_first_variant(dataset, path):
    codes = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    train = dataset.split("train")
    assert codes.n_plain == len(train)
    assert np.array_equal(
        codes.indices["train"][: codes.n_plain], encode_images(make_vqvae(), train.images, CPU)
    )


@pytest.mark.parametrize("value", [None, "16", 0, -1])
@pytest.mark.parametrize("name", ["grid", "n_codes", "variants"])
def test_altered_descriptions_are_named(dataset, path, name, value):
    codes = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    codes.about[name] = value
    save_codes(path, codes)
    with pytest.raises(DataError, match="is damaged .*03_codebook_analysis again"):
        load_codes(path)


@pytest.mark.parametrize("change", ["codes", "shape", "lengths", "type"])
def test_altered_maps_are_named(dataset, path, change):
    codes = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    train = codes.indices["train"]
    codes.indices["train"] = {
        "codes": train + np.uint16(1000),
        "shape": train[:, :-1],
        "lengths": train[:-1],
        "type": train.astype(float),
    }[change]
    save_codes(path, codes)
    with pytest.raises(DataError, match=r"is damaged \(its train maps are not what it says"):
        load_codes(path)
    again = encode_dataset(make_vqvae(), dataset, CONFIG, path, CPU)
    assert np.array_equal(again.indices["train"], train)
