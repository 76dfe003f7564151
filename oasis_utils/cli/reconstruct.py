"""The command `reconstruct`: a split after the VQ-VAE, with metrics."""

from __future__ import annotations

import argparse

from oasis_utils.cli.folders import opened_dataset, refuse_in_data, refuse_results, run_folder
from oasis_utils.cli.options import add_data, add_models
from oasis_utils.config import DataConfig, from_dict


def add_reconstruct(parsers) -> None:
    """Add the command `reconstruct`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser("reconstruct", help="encode and decode a split")
    add_data(parser, "data")
    add_models(parser)
    parser.add_argument("--split", choices=("train", "validate", "test"), default="test")
    parser.set_defaults(action=reconstruct)


def reconstruct(args: argparse.Namespace) -> None:
    """Encode and decode a split, and print metrics beside trivial baselines."""
    import numpy as np

    from oasis_utils import evaluation
    from oasis_utils.data import dataset as data
    from oasis_utils.models.checkpoints import load_model
    from oasis_utils.models.vqvae import VQVAE
    from oasis_utils.runtime import atomic, select_device

    refuse_in_data(args.data, args.out)
    folder, device = run_folder(args.run), select_device(args.device)
    refuse_results(args.out)
    vqvae, _ = load_model(folder.checkpoint("vqvae"), VQVAE, device)
    config = (
        from_dict(DataConfig, data.open_cache(folder.data).manifest["config"])
        if data.is_cache(folder.data)
        else DataConfig(image_size=vqvae.config.image_size)
    )
    with opened_dataset(args.data, config) as dataset:
        split = dataset.split(args.split)
        images, indices = evaluation.reconstruct_split(vqvae, split, device)
        scores = evaluation.score_reconstruction(
            split, images, evaluation.mean_image(dataset.split("train"))
        )
        assert split.series is not None  # set when a split is made
        with atomic(args.out) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file,
                images=np.array(split.images),
                reconstructions=images,
                indices=indices,
                subjects=split.subjects,
                series=split.series,
                positions=split.positions,
            )
    for name, baselines in scores.trivial_baselines.items():
        text = ", ".join(f"{answer} {value:.3f}" for answer, value in baselines.items())
        print(f"{name}: {getattr(scores, name):.3f}  (trivial baselines: {text})")
    print(
        f"wrote {len(images)} slices to {args.out} (keys images, reconstructions, indices,"
        " subjects, series, positions)"
    )
