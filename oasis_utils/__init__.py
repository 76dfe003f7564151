"""OASIS-VQ: discrete generative models of brain MRI slices.

Modules, in the order in which they import one another: config, runtime, synthetic, quantizer, metrics, codebook,
data, vqvae, pixelcnn, dcgan, checkpoints, training, plotting, pipeline, features, verdicts,
codes, sampling, fidelity, anatomy, memorisation, twosample, sensitivity, reference, evaluation, widgets, cli.
"""

__version__ = "0.1.0"
