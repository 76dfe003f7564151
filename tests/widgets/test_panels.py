"""The panels: sliders change what is drawn, and a panel draws when its tab is opened."""

import io

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.regions import REGIONS, region
from oasis_utils.models.samples import image_seeds
from oasis_utils.widgets.controls import TILE, png_sheet
from oasis_utils.widgets.panels import (
    CompletionPanel,
    Explorer,
    SamplingPanel,
    StackPanel,
    WalkPanel,
    darkened,
)


def opened(panel):
    panel.redraw()
    panel.output.wait()
    return panel


def turn(panel, control, value):
    control.value = value
    panel.output.wait()
    assert not panel.output.status.value.startswith("could not"), panel.output.status.value


def picture(panel):
    return np.asarray(Image.open(io.BytesIO(panel.output.picture.value)))


def leaves(widget):
    for child in getattr(widget, "children", ()):
        yield child
        yield from leaves(child)


# ---------------------------------------------------------------- sampling


@pytest.fixture
def panel(samplers, tmp_path):
    return opened(SamplingPanel(samplers, tmp_path))


def test_picture_is_what_the_sampler_draws(panel, samplers):
    samples = samplers["PixelCNN"].sample(
        np.full(4, 3), image_seeds(0, 4), SamplingOptions(1.0, 0, 0.95)
    )
    assert panel.output.picture.value == png_sheet(samples.images)
    assert panel.output.status.value.startswith("4 slices in ")


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("position", 0),
        ("seed", 1),
        ("count", 2),
        ("prior", "DCGAN"),
        ("sampling.temperature", 0.0),
        ("sampling.top_k", 1),
        ("sampling.top_p", 0.05),
        ("sampling.age.enabled", True),
    ],
)
def test_every_control_changes_the_picture_and_the_way_back_restores_it(panel, control, value):
    owner = panel
    *path, name = control.split(".")
    for step in path:
        owner = getattr(owner, step)
    before, old = panel.output.picture.value, getattr(owner, name).value
    turn(panel, getattr(owner, name), value)
    assert panel.output.picture.value != before
    turn(panel, getattr(owner, name), old)
    assert panel.output.picture.value == before


def test_more_images_leave_the_first_ones_alone(panel):
    turn(panel, panel.count, 2)
    two = picture(panel).astype(int)
    turn(panel, panel.count, 4)
    assert np.abs(picture(panel)[:, : 2 * TILE] - two).max() <= 1


def test_dcgan_switches_off_what_it_ignores(panel, samplers):
    sampling = panel.sampling
    ignored = (
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.age.enabled,
        sampling.age.years,
    )
    turn(panel, sampling.age.enabled, True)
    turn(panel, sampling.temperature, 0.3)
    turn(panel, panel.prior, "DCGAN")
    assert all(control.disabled for control in ignored)
    samples = samplers["DCGAN"].sample(np.full(4, 3), image_seeds(0, 4))
    assert panel.output.picture.value == png_sheet(samples.images)
    turn(panel, panel.prior, "PixelCNN")
    assert not any(control.disabled for control in ignored)


def test_the_age_can_be_set_only_if_it_is_used(panel):
    age = panel.sampling.age
    assert age.enabled.description == "use age" and age.years.disabled
    turn(panel, age.enabled, True)
    assert not age.years.disabled
    turn(panel, age.enabled, False)
    assert age.years.disabled


def test_reset_restores_the_first_settings_and_picture(panel):
    before = panel.output.picture.value
    turn(panel, panel.prior, "DCGAN")
    turn(panel, panel.seed, 8)
    turn(panel, panel.count, 2)
    assert panel.output.picture.value != before
    panel.settings.reset.click()
    panel.output.wait()
    assert panel.output.picture.value == before
    assert (panel.prior.value, panel.seed.value, panel.count.value) == ("PixelCNN", 0, 4)


def test_sliders_end_where_the_models_do(panel):
    assert (panel.position.min, panel.position.max) == (0, 5)
    assert panel.sampling.top_k.max == 16
    years = panel.sampling.age.years
    assert (years.min, years.value, years.max) == (10, 50, 90)
    for control in (
        panel.position,
        panel.sampling.temperature,
        panel.sampling.top_k,
        panel.sampling.top_p,
        panel.seed,
    ):
        for end in (control.min, control.max):
            turn(panel, control, end)
            assert picture(panel).any()


def test_no_age_is_offered_where_no_model_knows_any(samplers, tmp_path):
    panel = opened(SamplingPanel({"DCGAN": samplers["DCGAN"]}, tmp_path))
    assert (
        panel.sampling.age.widget.layout.display == "none" and panel.sampling.temperature.disabled
    )
    assert picture(panel).shape == (TILE, 4 * TILE)


# ---------------------------------------------------------------- stack and walk


@pytest.mark.parametrize("prior", ["PixelCNN", "DCGAN"])
def test_the_stack_holds_every_position_of_one_noise(samplers, tmp_path, prior):
    panel = opened(StackPanel(samplers, tmp_path))
    turn(panel, panel.prior, prior)
    for position in range(6):
        panel.index.value = position
        alone = samplers[prior].sample(
            np.array([position]),
            image_seeds(0, 1),
            SamplingOptions(top_p=0.95) if prior == "PixelCNN" else None,
        )
        shown = np.asarray(Image.open(io.BytesIO(png_sheet(alone.images, tile=2 * TILE)))).astype(
            int
        )
        assert np.abs(picture(panel) - shown).max() <= 1
    assert panel.output.drawing.samples.positions.tolist() == list(range(6))


@pytest.mark.parametrize("prior", ["PixelCNN", "DCGAN"])
def test_a_walk_starts_at_one_seed_and_ends_at_the_other(samplers, tmp_path, prior):
    panel = opened(WalkPanel(samplers, tmp_path))
    turn(panel, panel.prior, prior)
    turn(panel, panel.end, 7)
    maps = panel.output.drawing.samples.indices
    options = SamplingOptions(top_p=0.95) if prior == "PixelCNN" else None
    for seed, drawn in ((0, maps[0]), (7, maps[-1])):
        assert np.array_equal(
            samplers[prior].draw(np.array([3]), image_seeds(seed, 1), options)[0], drawn
        )
    assert len(maps) == panel.steps and (panel.index.min, panel.index.max) == (0, panel.steps - 1)


def test_selecting_a_slice_draws_nothing(samplers, tmp_path):
    panel = opened(StackPanel(samplers, tmp_path))
    status = panel.output.status.value
    panel.index.value = 0
    assert panel.output.status.value == status


# ---------------------------------------------------------------- completion


def test_what_is_not_kept_is_shown_dark():
    image = darkened(np.full((16, 16), 90, np.uint8), region("left half", 8))
    assert (image[:, :8] == 90).all() and (image[:, 8:] == 30).all()


@pytest.mark.parametrize("name", REGIONS)
def test_completions_keep_the_given_cells(samplers, tmp_path, name):
    panel = opened(CompletionPanel(samplers["PixelCNN"], tmp_path))
    turn(panel, panel.count, 5)
    turn(panel, panel.keep, name)
    given = samplers["PixelCNN"].draw(
        np.array([3]), image_seeds(0, 1), SamplingOptions(top_p=0.95)
    )[0]
    maps, keep = panel.output.drawing.samples.indices, region(name, 4)
    assert (maps[:, keep] == given[keep]).all()
    assert len({tuple(rest) for rest in maps[:, ~keep].tolist()}) > 1
    assert picture(panel).shape == (2 * TILE, 4 * TILE)  # the given slice and five completions


# ---------------------------------------------------------------- all of them


def test_a_panel_draws_when_its_tab_is_opened(samplers, tmp_path):
    explorer = Explorer(samplers, tmp_path)
    assert explorer.widget.titles == ("Sample", "Stack", "Walk", "Complete", "Paint")
    for index, panel in enumerate(explorer.panels.values()):
        if index:
            assert panel.output.drawing is None
        explorer.widget.selected_index = index
        panel.output.wait()
        assert panel.output.drawing is not None


def test_without_a_pixelcnn_there_is_nothing_to_complete(samplers, tmp_path):
    explorer = Explorer({"DCGAN": samplers["DCGAN"]}, tmp_path)
    assert "Complete" not in explorer.panels


def test_every_control_is_labelled(samplers, tmp_path):
    for widget in leaves(Explorer(samplers, tmp_path).widget):
        if hasattr(widget, "value") and hasattr(widget, "disabled"):
            assert widget.description or type(widget).__name__ == "Play", widget
        if type(widget).__name__ in ("Button", "Checkbox"):
            assert widget.description


def test_no_part_of_a_panel_reads_a_text_as_html(samplers, tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    explorer = Explorer(samplers, folder)
    explorer.panels["Sample"].output.wait()
    explorer.panels["Sample"].output.write()
    parts = list(leaves(explorer.widget))
    assert any(str(folder) in str(getattr(part, "value", "")) for part in parts)  # it is told
    for part in parts:
        assert not isinstance(part, (ipywidgets.HTML, ipywidgets.HTMLMath))
        assert not getattr(part, "description_allow_html", False)
