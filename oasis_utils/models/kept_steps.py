"""The step of one cell of the cached sampler, recorded on a GPU, and steps kept for later calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oasis_utils.models.cached_sampling import RowCache
from oasis_utils.models.drawing import DrawingRule, SamplingOptions, draw_by
from oasis_utils.models.gated_network import GatedNetwork
from oasis_utils.runtime.gpu import captured

MOST_KEPT_STEPS = 8  # of a model; there are at most 5 drawing rules for each batch size


class Step:
    """Predict, draw and accept one cell, reading inputs from fixed addresses; on a GPU the kernels
    are recorded once as a CUDA graph and then replayed, because launching some hundred small
    kernels a cell is what takes the time.

    Where the kernels cannot be recorded they are launched one by one, with a warning. The state
    that the trial runs of a recording leave behind is cleared by `start_row`.

    Args:
        cache: the state of the incremental pass.
        options: temperature, top-k and top-p.
        record: whether a CUDA graph is recorded where that is possible.
    """

    def __init__(self, cache: RowCache, options: SamplingOptions, record: bool = True):
        self.cache, self.rule = cache, DrawingRule.of(options, cache.model.config.n_codes)
        self.ready_first, self.ready = cache.ready_first[0].clone(), cache.ready[0].clone()
        self.skip = None if cache.skip_here is None else cache.skip_here.clone()
        device = self.ready.device
        self.noise = torch.zeros(cache.batch, device=device)
        self.given = torch.zeros(cache.batch, dtype=torch.long, device=device)
        self.keep = torch.zeros(cache.batch, dtype=torch.bool, device=device)
        self.temperature, self.top_p = torch.ones((), device=device), torch.ones((), device=device)
        self.top_k = torch.zeros((), dtype=torch.long, device=device)
        self.begin(options)
        self.graph = None
        if record and device.type == "cuda" and (recorded := captured(self._compute, device)):
            self.graph, self.code = recorded

    def begin(self, options: SamplingOptions) -> None:
        """Draw by these options from now on; they must follow the same `DrawingRule` as before."""
        for number, value in (
            (self.temperature, options.temperature),
            (self.top_k, options.top_k),
            (self.top_p, options.top_p),
        ):
            number.fill_(value)
        self.keep.zero_()

    def __call__(
        self,
        noise: Float[Tensor, " batch"],
        given: Int[Tensor, " batch"] | None = None,
        keep: Bool[Tensor, " batch"] | None = None,
    ) -> Int[Tensor, " batch"]:
        """Draw the code of the next cell, or take it over.

        Args:
            noise: uniform in [0, 1).
            given: codes to take over; None: all are drawn.
            keep: true where a code is taken over.

        Returns:
            The codes. The next call uses their memory again.
        """
        cache = self.cache
        self.ready_first.copy_(cache.ready_first[cache.col])
        self.ready.copy_(cache.ready[cache.col])
        if self.skip is not None and (skip := cache.skip_here) is not None:
            self.skip.copy_(skip)
        self.noise.copy_(noise)
        if given is not None and keep is not None:
            self.given.copy_(given)
            self.keep.copy_(keep)
        if self.graph is None:
            self.code = self._compute()
        else:
            self.graph.replay()
        cache.col += 1
        return self.code

    def _compute(self) -> Tensor:
        logits = self.cache._logits(self.ready_first, self.ready, self.skip)
        code = draw_by(self.rule, logits, self.noise, self.temperature, self.top_k, self.top_p)
        code = torch.where(self.keep, self.given, code)
        self.cache._shift(code)
        return code


class KeptSteps:
    """The steps that a model used last, to be used again: a step is recorded once for each batch
    size and rule.

    They hold copies of the weights, so all are dropped when a weight has changed. Copies of a model
    keep none.
    """

    def __init__(self):
        self._steps: OrderedDict[tuple[int, DrawingRule], Step] = OrderedDict()
        self._weights: list[tuple] = []

    def __deepcopy__(self, memo) -> KeptSteps:
        return KeptSteps()

    def __reduce__(self):
        return KeptSteps, ()

    def __len__(self) -> int:
        return len(self._steps)

    @contextmanager
    def step(
        self,
        model: GatedNetwork,
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None,
        context: Any,
        options: SamplingOptions,
    ) -> Iterator[Step]:
        """A step that begins new maps; no other caller gets it while it is in use.

        Args:
            model: the network to draw from.
            positions: slice positions in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.
            context: what is known of the whole maps, see `GatedNetwork.at_cells`.
            options: temperature, top-k and top-p.

        Yields:
            The step, for as many maps as there are positions.
        """
        key = (len(positions), DrawingRule.of(options, model.config.n_codes))
        weights = state_of(model)
        if weights != self._weights:
            self._steps.clear()
            self._weights = weights
        step = self._steps.pop(key, None)
        if step is None:
            # its memory must serve callers of any mode
            with torch.inference_mode(False), torch.no_grad():
                step = Step(
                    RowCache(
                        model,
                        positions.clone(),
                        None if ages is None else ages.clone(),
                        cloned(context),
                    ),
                    options,
                )
        step.begin(options)
        step.cache.begin(positions, ages, context)
        try:
            yield step
        finally:
            if weights and weights == self._weights:
                self._steps[key] = step
                while len(self._steps) > MOST_KEPT_STEPS:
                    self._steps.popitem(last=False)


def cloned(context: Any) -> Any:
    """A copy of the tensor or of the tuple of tensors that a context is; None stays."""
    if context is None or isinstance(context, Tensor):
        return None if context is None else context.clone()
    return type(context)(*(cloned(part) for part in context))


@torch.no_grad()
def state_of(model: nn.Module) -> list[tuple]:
    """Address, number of changes and norm of each weight; empty where torch counts no changes
    (inference tensors).

    The norm is there for fused optimisers, whose changes torch does not count.
    """
    weights: list[Tensor] = list(model.parameters())
    if any(weight.is_inference() for weight in weights):
        return []
    norms = torch.stack(torch._foreach_norm(weights)).tolist()  # pyright: ignore[reportPrivateImportUsage]
    return [
        (weight.data_ptr(), weight._version, weight.device, norm)
        for weight, norm in zip(weights, norms, strict=True)
    ]
