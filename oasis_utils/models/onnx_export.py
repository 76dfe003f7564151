"""The DCGAN and the decoder of the VQ-VAE as one ONNX model: noise, position and age in, slice out.

The model does all that `BrainSampler.sample` does for one slice after the noise is drawn: the
age in the noise, the generator, the nearest codes, the second encoding of a settled prior, and the
decoder. Format: Open Neural Network Exchange, https://onnx.ai/onnx/intro/
"""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.linear_maps import with_first
from oasis_utils.models.quantizer import nearest_code
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.vqvae import VQVAE

if TYPE_CHECKING:
    import onnx

OPSET = 18  # of ONNX operators: old enough for every runtime since 2023
INPUTS, OUTPUTS = ("noise", "position", "age"), ("image", "codes")


class OneSlice(nn.Module):
    """Draws one slice from given noise, without checks that a graph cannot hold.

    Args:
        vqvae: decodes index maps.
        dcgan: draws them.
    """

    def __init__(self, vqvae: VQVAE, dcgan: DCGAN):
        super().__init__()
        self.vqvae, self.dcgan = vqvae, dcgan

    def forward(
        self,
        noise: Float[Tensor, "1 noise_size"],
        position: Int[Tensor, " 1"],
        age: Float[Tensor, " 1"],
    ) -> tuple[UInt8[Tensor, "height width"], Int[Tensor, "rows cols"]]:
        """Grey levels of the slice and its codes in [0, n_codes).

        Args:
            noise: as `DCGAN.noise` makes it from a seed.
            position: slice position in [0, n_positions).
            age: years, nan for none; not used by a model without ages.
        """
        told = self.dcgan.standardize_ages(age)
        codes = self.dcgan.quantize(self.dcgan.generator(with_first(noise, told), position))
        if self.dcgan.settled:
            codes = self._encoded(self._decoded(codes))
        image = (self._decoded(codes) * 255).round().to(torch.uint8)
        return image[0, 0], codes[0].to(torch.int32)

    def _decoded(self, codes: Tensor) -> Tensor:
        vectors = F.embedding(codes, self.vqvae.quantizer.codebook)
        return self.vqvae.decode(vectors.permute(0, 3, 1, 2)).clamp(0, 1)

    def _encoded(self, images: Tensor) -> Tensor:
        quantizer = self.vqvae.quantizer
        latents = quantizer.normalize(self.vqvae.encode(images), dim=1)
        grid = self.vqvae.config.grid
        return nearest_code(quantizer.flatten(latents), quantizer.codebook).view(1, grid, grid)


def onnx_model(sampler: BrainSampler) -> bytes:
    """A sampler whose prior is a DCGAN, as an ONNX model of one slice.

    Weights that half precision holds exactly are stored in it, so the model is never less precise
    than the checkpoint.

    Args:
        sampler: on the CPU.

    Returns:
        The serialised model. Inputs: noise (1, noise_size) float32; position (1) int64; age (1)
        float32 in years, nan for none. Outputs: image (height, width) uint8; codes (rows, cols)
        int32.

    Raises:
        RuntimeError: the packages that write ONNX are not installed.
        ValueError: the prior is no DCGAN.
    """
    try:
        import onnxscript  # noqa: F401  (torch.onnx needs it and onnx)
    except ImportError:
        raise RuntimeError(
            "the page needs the packages onnx and onnxscript: pip install 'oasis-vq[page]'"
        ) from None
    if not isinstance(sampler.prior, DCGAN):
        raise ValueError("only a DCGAN draws a whole slice in one pass: choose prior dcgan")
    drawing, config = OneSlice(sampler.vqvae, sampler.prior).eval(), sampler.prior.config
    example = (torch.zeros(1, config.noise_size), torch.zeros(1, dtype=torch.int64), torch.zeros(1))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's own exporter
        program = torch.onnx.export(
            drawing,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=OUTPUTS,
            verbose=False,
        )
    assert program is not None
    return without_notes(halved(program.model_proto)).SerializeToString()


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the exporter notes about each node and value, such as paths of source files.

    Args:
        model: changed in place.

    Returns:
        The same model.
    """
    graph = model.graph
    parts = (graph.node, graph.initializer, graph.value_info, graph.input, graph.output)
    for part in (model, graph, *itertools.chain(*parts)):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store float32 weights in half precision where that loses nothing.

    Args:
        model: changed in place; a cast to float32 replaces each weight that is stored shorter.

    Returns:
        The same model.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim == 0:
            continue
        with np.errstate(over="ignore"):
            short = values.astype(np.float16)
        if not np.array_equal(short.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(short, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    return model
