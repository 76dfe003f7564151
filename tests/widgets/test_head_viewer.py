"""The panel of whole heads: what it draws, which planes it shows, what it does without WebGL."""

import gzip
import io
import re
import sys
from pathlib import Path

import ipyniivue
import nibabel
import numpy as np
import pytest
from PIL import Image
from small_neighbours import AGES, CODES, GRID, tiny_neighbour, tiny_start

from oasis_utils.config import VQVAEConfig
from oasis_utils.data.head_geometry import HeadGeometry
from oasis_utils.data.head_volumes import nifti_bytes, write_head
from oasis_utils.models.codes import decode_maps
from oasis_utils.models.head_priors import DCGANHeads, PixelCNNHeads
from oasis_utils.models.heads import HeadSampler
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import image_seeds
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import RunFolder, project_root
from oasis_utils.widgets.head_viewer import GAP, SIDE, HeadPanel, HeadView, geometry_of, heads_of
from oasis_utils.widgets.panels import Explorer, StackPanel

GEOMETRY = HeadGeometry(pixel=2.0, spacing=3.0, left=True)


def picture(content):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def heads(samplers):
    sampler = samplers["DCGAN"]
    return {"DCGAN": HeadSampler(sampler.vqvae, DCGANHeads(sampler.prior))}


@pytest.fixture
def panel(heads, tmp_path):
    panel = HeadPanel(heads, tmp_path, GEOMETRY)
    panel.redraw()
    panel.output.wait()
    return panel


@pytest.fixture
def view(panel):
    """Of a head whose front, left and top are brighter than the rest."""
    view, head = HeadView(panel.output.picture, GEOMETRY), np.full((6, 32, 32), 60, np.uint8)
    head[:, :, :4], head[-1], head[:, :4] = 110, 170, 255
    view.planes.picture.value = view.load(head)
    return view


# ---------------------------------------------------------------- planes


def test_planes_are_upright_and_in_proportion(view):
    shown = picture(view.planes.picture.value)
    side, tall = SIDE, round(SIDE * 6 * 3 / (32 * 2))
    assert shown.shape == (side, 3 * side + 2 * GAP)
    axial, coronal, sagittal = (shown[:, i * (side + GAP) :][:, :side] for i in range(3))
    assert axial[5, 100] == 255 and axial[200, 10] == 110 and axial[200, 250] == 60
    assert coronal[5, 200] > 150 and coronal[tall - 5, 10] == 110 and coronal[tall - 5, 250] == 60
    assert sagittal[tall - 5, 10] == 255 and sagittal[tall - 5, 250] == 60
    assert not coronal[tall + 2 :].any()


def test_a_slider_moves_its_plane_and_the_lines_in_the_others(view):
    before = picture(view.planes.picture.value).astype(int)
    view.planes.coronal.value = 2
    after = picture(view.planes.picture.value)
    side, tall = SIDE, round(SIDE * 6 * 3 / (32 * 2))
    assert (after[10 : tall - 5, side + GAP :][:, 10:140] == 255).all()  # the front
    line = int(2.5 / 32 * side)
    assert (after[200, :side] == before[200, :side]).all()  # the axial plane, away from its line
    assert (after[line, :side] > before[line, :side]).mean() < 0.1  # white before and after
    column = 2 * (side + GAP) + side // 2 + 4
    assert (before[:, column] >= after[:, column]).all()  # the line has left the middle


def test_sliders_begin_in_the_middle_and_stay_for_the_next_head(view):
    assert [s.max for s in view.planes.sliders] == [5, 31, 31]
    assert [s.value for s in view.planes.sliders] == [3, 16, 16]
    view.planes.axial.value = 1
    view.load(np.zeros((6, 32, 32), np.uint8))
    assert view.planes.axial.value == 1


# ---------------------------------------------------------------- NiiVue


def test_niivue_takes_the_place_of_the_sliders_when_the_browser_has_webgl(view):
    assert view.place.children == (view.planes.widget,)
    view.probe.answer = "yes"
    assert view.place.children == (view.niivue,) and view.note.value == ""
    (volume,) = view.niivue.volumes
    image = nibabel.Nifti1Image.from_bytes(volume.data)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms() == (2, 2, 3)
    view.load(np.full((6, 32, 32), 7, np.uint8))
    (second,) = view.niivue.volumes
    assert np.unique(nibabel.Nifti1Image.from_bytes(second.data).dataobj) == [7]
    assert volume.comm is None  # closed


@pytest.mark.parametrize("left", [True, False])
def test_sides_are_named_only_if_left_is_known(panel, left):
    view = HeadView(panel.output.picture, HeadGeometry(1.0, 1.0, left=left))
    view.probe.answer = "yes"
    assert view.niivue.opts.is_orientation_text_visible == left
    assert ("unknown" in view.about.value) != left


def test_without_webgl_the_sliders_stay_and_a_line_says_why(view):
    view.probe.answer = "no"
    assert view.niivue is None and view.place.children == (view.planes.widget,)
    assert "WebGL 2" in view.note.value and "sliders" in view.note.value


def test_without_ipyniivue_the_sliders_stay_and_a_line_says_why(view, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    view.probe.answer = "yes"
    assert view.niivue is None and "pip install ipyniivue" in view.note.value


def test_the_script_of_niivue_imports_nothing_from_elsewhere():
    """The tests in a browser also see that it asks for nothing."""
    script = (Path(ipyniivue.__file__).parent / "static" / "widget.js").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:from|import)\s*\(?["'](?:https?:)?//""", script)


def test_the_bytes_are_those_of_a_written_head(tmp_path):
    head = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)
    path = write_head(tmp_path, "001", head, GEOMETRY, {})
    assert gzip.decompress(path.read_bytes()) == nifti_bytes(head, GEOMETRY)


# ---------------------------------------------------------------- the panel


def test_the_panel_shows_what_the_sampler_draws(panel, heads):
    maps = heads["DCGAN"].draw(image_seeds(0, 1))[0]
    drawn = panel.output.drawing.samples
    assert (drawn.indices == maps).all() and drawn.positions.tolist() == list(range(6))
    assert (drawn.images == decode_maps(heads["DCGAN"].vqvae, maps)).all()
    assert panel.output.picture.value == panel.view.planes.png()
    assert panel.output.status.value.startswith("6 slices in ")


def test_another_seed_draws_another_head_and_reset_restores_the_first(panel):
    before = panel.output.drawing.samples.images
    panel.seed.value = 5
    panel.output.wait()
    assert (panel.output.drawing.samples.images != before).any()
    panel.view.planes.axial.value = 1
    panel.settings.reset.click()
    panel.output.wait()
    assert (panel.output.drawing.samples.images == before).all()
    assert [slider.value for slider in panel.view.planes.sliders] == [3, 16, 16]


def test_the_head_is_saved(panel, tmp_path):
    panel.output.write()
    assert np.load(tmp_path / "dcgan_head_seed0.npz")["images"].shape == (6, 32, 32)
    assert (tmp_path / "dcgan_head_seed0.png").exists()


def test_the_stack_is_the_head_of_the_same_seed(panel, samplers, heads, tmp_path):
    stack = StackPanel({"DCGAN": samplers["DCGAN"]}, tmp_path, heads)
    stack.redraw()
    stack.output.wait()
    assert (stack.images == panel.output.drawing.samples.images).all()


def test_a_pixelcnn_told_the_neighbouring_slice_draws_stack_and_head(tmp_path):
    start = tiny_start(**AGES)
    side = 8 * GRID
    vqvae = VQVAE(
        VQVAEConfig(image_size=side, downsampling=8, channels=32, n_codes=CODES, code_dim=4)
    )
    heads = {"PixelCNN": HeadSampler(vqvae, PixelCNNHeads(start, tiny_neighbour(start)))}
    stack = StackPanel({"PixelCNN": BrainSampler(vqvae, start)}, tmp_path, heads)
    stack.sampling.top_p.value = 1.0
    panel = HeadPanel(heads, tmp_path)
    for each, age in ((stack, stack.sampling.age), (panel, panel.age)):
        age.enabled.value = True  # draws
        age.years.value = 70
        each.output.wait()
    drawn = heads["PixelCNN"].sample(image_seeds(0, 1), ages=np.array([70.0]))
    assert (stack.images == drawn.images[0]).all()
    assert (panel.output.drawing.samples.images == drawn.images[0]).all()


def test_the_explorer_has_a_tab_of_heads_if_there_are_any(samplers, panel, tmp_path):
    explorer = Explorer(samplers, tmp_path, head=panel)
    assert explorer.widget.titles == ("Sample", "Stack", "Head", "Walk", "Complete", "Paint")
    assert "Head" not in Explorer(samplers, tmp_path).panels


# ---------------------------------------------------------------- runs


def test_a_run_without_a_neighbour_model_has_heads_of_the_dcgan(samplers, tmp_path):
    assert list(heads_of(samplers, RunFolder(tmp_path))) == ["DCGAN"]
    pixelcnn = {"PixelCNN": samplers["PixelCNN"]}
    assert HeadPanel.of_run(RunFolder(tmp_path), pixelcnn, None, tmp_path) is None


def test_a_neighbour_model_of_another_pixelcnn_is_left_out_and_named(samplers, tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.checkpoint("pixelcnn_neighbour").parent.mkdir(parents=True)
    run.checkpoint("pixelcnn_neighbour").write_bytes(b"")
    assert list(heads_of(samplers, run)) == ["DCGAN"]
    assert "no heads with the PixelCNN" in capsys.readouterr().out


def test_shipped_models_draw_sample_brains():
    geometry = geometry_of(RunFolder(project_root()), None, 32)
    assert geometry.assumed == () and geometry.spacing == 1
