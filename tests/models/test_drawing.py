"""Draws from predicted distributions: temperature, top-k and top-p in closed form."""

import pytest
import torch
import torch.nn.functional as F

from oasis_utils.models.drawing import SamplingOptions, draw, great_circle, probabilities


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"temperature": -0.1},
            r"temperature must be from 0 \(likeliest code\) to 1e\+06, not -0.1",
        ),
        ({"top_k": -1}, r"top_k must be from 0 \(all codes\) to 2\^31 - 1, not -1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], not 0.0"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": -0.5}, "top_p"),
    ],
)
def test_bad_sampling_options_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**values)


LOGITS = 2 * torch.randn(12, generator=torch.Generator().manual_seed(3))
COUNT = 20_000


def shares_drawn(options, logits=LOGITS):
    """How often each code is drawn for evenly spread noise: inversion is exact to one draw per
    code.
    """
    noise = (torch.arange(COUNT) + 0.5) / COUNT
    return draw(logits.expand(COUNT, -1), noise, options).bincount(minlength=len(logits)) / COUNT


def shares_of_likeliest(count):
    """The distribution once all but this many likeliest codes are struck out."""
    struck_out = LOGITS.argsort(descending=True)[count:]
    return LOGITS.index_fill(0, struck_out, -torch.inf).softmax(0)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=2.5 / COUNT, rtol=0)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_draws_reproduce_the_distribution_at_any_temperature(temperature):
    close(shares_drawn(SamplingOptions(temperature=temperature)), (LOGITS / temperature).softmax(0))


@pytest.mark.parametrize("top_k", [2, 5, 11])
def test_top_k_keeps_the_likeliest_codes_in_proportion(top_k):
    close(shares_drawn(SamplingOptions(top_k=top_k)), shares_of_likeliest(top_k))


@pytest.mark.parametrize("top_k", [0, 12, 13, 1000])
def test_top_k_of_all_codes_or_more_changes_nothing(top_k):
    close(shares_drawn(SamplingOptions(top_k=top_k)), LOGITS.softmax(0))


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.9, 0.99])
def test_top_p_keeps_the_fewest_likeliest_codes_with_that_mass(top_p):
    ordered = LOGITS.softmax(0).sort(descending=True).values
    kept = next(n for n in range(1, 13) if ordered[:n].sum() >= top_p)
    close(shares_drawn(SamplingOptions(top_p=top_p)), shares_of_likeliest(kept))


def test_top_p_counts_the_mass_that_top_k_leaves():
    ordered = shares_of_likeliest(4).sort(descending=True).values
    count = next(n for n in range(1, 5) if ordered[:n].sum() >= 0.7)
    close(shares_drawn(SamplingOptions(top_k=4, top_p=0.7)), shares_of_likeliest(count))


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(temperature=0.0),
        SamplingOptions(top_k=1),
        SamplingOptions(top_p=1e-6),
        SamplingOptions(temperature=1e-3),
    ],
)
def test_the_narrowest_options_take_the_likeliest_code(options):
    logits = torch.randn(500, 12, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(500), logits.argmax(1)] += 0.1  # no near ties
    noise = torch.rand(500, generator=torch.Generator().manual_seed(1))
    assert torch.equal(draw(logits, noise, options), logits.argmax(1))
    assert not torch.equal(draw(logits, noise, SamplingOptions()), logits.argmax(1))


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
@pytest.mark.parametrize(
    "options", [SamplingOptions(), SamplingOptions(top_k=3), SamplingOptions(top_p=0.5)]
)
def test_noise_at_the_ends_draws_a_code_that_is_kept(options, noise):
    logits = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    logits[:, 5] = -torch.inf  # never
    chosen = draw(logits, torch.full((300,), noise), options)
    shares = logits.softmax(1).gather(1, chosen[:, None])[:, 0]
    assert shares.min() > 0


def test_each_row_is_drawn_from_its_own_distribution():
    logits = 50 * F.one_hot(torch.tensor([3, 1, 4, 1, 5]), 7).float()
    for noise in (0.01, 0.5, 0.99):
        assert draw(logits, torch.full((5,), noise), SamplingOptions()).tolist() == [3, 1, 4, 1, 5]


def test_a_great_circle_ends_at_both_noises_and_keeps_their_length():
    ends = torch.randn(2, 400, 100, generator=torch.Generator().manual_seed(0)).double()
    path = great_circle(ends, 5)
    assert path.shape == (5, 400, 100)
    torch.testing.assert_close(path[[0, -1]], ends)
    torch.testing.assert_close(path.std((1, 2)), torch.ones(5).double(), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "options", [{"temperature": 1e-300}, {"temperature": 1e-7}, {"top_p": 1e-320}]
)
def test_values_that_single_precision_loses_are_refused(options):
    with pytest.raises(ValueError, match="temperature and top_p must be 1e-06 or more"):
        SamplingOptions(**options)
    with pytest.raises(ValueError, match="not nan"):
        SamplingOptions(**dict.fromkeys(options, float("nan")))


def test_the_smallest_values_draw_the_likeliest_code():
    logits, noise = torch.randn(64, 16) * 20, torch.rand(64)
    for options in (SamplingOptions(temperature=1e-6), SamplingOptions(top_p=1e-6)):
        assert torch.equal(draw(logits, noise, options), logits.argmax(1))


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(),
        SamplingOptions(temperature=0.0),
        SamplingOptions(temperature=0.6),
        SamplingOptions(temperature=1.4, top_k=5),
        SamplingOptions(top_p=0.7),
        SamplingOptions(temperature=0.8, top_k=6, top_p=0.9),
    ],
)
def test_codes_are_drawn_with_the_probabilities_that_are_told(options):
    told = probabilities(LOGITS[None], options)[0]
    assert torch.allclose(told.sum(), torch.tensor(1.0))
    assert torch.allclose(told, shares_drawn(options), atol=2 / COUNT)


def test_options_that_change_nothing_give_the_softmax():
    assert torch.allclose(probabilities(LOGITS[None], SamplingOptions())[0], LOGITS.softmax(0))
