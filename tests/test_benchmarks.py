"""Benchmarks measure what they say, their peers compute the same, and the docs show it."""

import json
import sys
from pathlib import Path

import pytest
import torch

from oasis_utils.models.quantizer import VectorQuantizer, nearest_code

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in (
        "measure",
        "quantizer",
        "train_step",
        "sampling",
        "data",
        "habits",
        "judging",
        "summary",
        "end_to_end",
        "demo_tables",
        "scale",
        "sizes",
        "speed_record",
        "record_tables",
        "heads_tables",
        "peers",
    ):
        sys.modules.pop(name, None)


def test_a_quadratic_cost_has_exponent_two():
    from measure import growth_exponent

    assert growth_exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)


def test_ratios_are_taken_round_by_round():
    from measure import ratio

    found = ratio({"ours": [1.0, 2.0, 1.0], "peer": [3.0, 8.0, 5.0]}, "peer")
    assert found == {"median": 4.0, "lowest": 3.0, "highest": 5.0}


def test_a_peer_that_is_not_installed_is_left_out_and_named(monkeypatch, capsys):
    import quantizer

    monkeypatch.setattr(quantizer, "Lucidrains", torch.nn.Identity)
    monkeypatch.setattr(
        quantizer.installed.__globals__["importlib"].util,
        "find_spec",
        lambda name: None if name == "monai" else name,
    )
    assert list(quantizer.peers()) == ["lucidrains"]
    assert "monai is not installed" in capsys.readouterr().out


def test_peak_memory_counts_what_is_held_at_one_time():
    from measure import peak_mib

    def work():
        for _ in range(3):
            torch.zeros(2**20)  # 4 MiB, freed at once
        both = [torch.zeros(2**20), torch.zeros(2**20)]
        both.clear()

    assert peak_mib(work, CPU) == pytest.approx(8, abs=0.1)


def test_the_textbook_quantizer_finds_the_same_codes_and_gradient_as_ours():
    from quantizer import Textbook

    torch.manual_seed(0)
    textbook, ours = (
        Textbook(n_codes=30, dim=6),
        VectorQuantizer(30, 6, revive_below=0.0, kmeans_init=False),
    )
    ours.codebook.copy_(textbook.codebook)
    latents = [
        torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
        for _ in range(2)
    ]
    (codes, loss), found = textbook.eval()(latents[0]), ours.eval()(latents[1])
    torch.testing.assert_close(codes, found.codes)
    torch.testing.assert_close(loss, found.loss)
    (codes.square().sum() + loss).backward()
    (found.codes.square().sum() + found.loss).backward()
    torch.testing.assert_close(latents[0].grad, latents[1].grad)
    flat = latents[0].detach().permute(0, 2, 3, 1).reshape(-1, 6)
    assert torch.equal(textbook.nearest(flat), nearest_code(flat, ours.codebook))


def test_the_2017_architecture_has_four_pixels_a_code_and_trains():
    from quantizer import Textbook
    from train_step import Model2017

    torch.manual_seed(0)
    model, images = Model2017(Textbook()), torch.rand(2, 1, 32, 32)
    assert model.encoder(images).shape == (2, 64, 8, 8)
    before, optimizer = model(images).item(), torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(images)
        loss.backward()
        optimizer.step()
    assert loss.item() < before


def test_layers_are_all_convolutions_of_a_step_by_way():
    from quantizer import Textbook
    from train_step import Model2017, by_layer, step

    model, images = Model2017(Textbook()), torch.rand(1, 1, 32, 32)
    found = by_layer({"way": step(model, images, torch.enable_grad, False)}, calls=1)
    assert len(found) == 18 and all(
        value["way"] > 0 for value in found.values()
    )  # 9 shapes, each forward and backward


def test_autograd_keeps_the_inputs_of_a_product_but_not_its_weights():
    from train_step import kept_mib

    model = torch.nn.Linear(1024, 512, bias=False)

    def loss(images):
        return model(images).square().sum()

    loss.parameters = model.parameters
    assert kept_mib(loss, torch.rand(256, 1024)) == pytest.approx(
        1 + 0.5
    )  # what enters, and what is squared


def test_the_cached_sampler_must_predict_what_a_forward_pass_does(monkeypatch):
    import sampling

    from oasis_utils.models.cached_sampling import RowCache

    model = sampling.model_for(8, CPU)
    positions, noise = sampling.inputs(3, 8, CPU)
    maps = model.sample(positions, noise)
    assert sampling.require_equal_logits(model, positions, maps) < 1e-4
    logits = RowCache.logits
    monkeypatch.setattr(RowCache, "logits", lambda self: logits(self) + 0.01 * (self.col == 5))
    with pytest.raises(RuntimeError, match="logits differ by 0.01, more than rounding"):
        sampling.require_equal_logits(model, positions, maps)


def test_every_case_of_kept_memory_runs():
    from habits import cases

    for name, work in cases().items():
        found = work()
        values = (
            torch.from_numpy(found) if name == "features" else torch.stack(list(found.values()))
        )
        assert values.isfinite().all() and values.any(), name


def test_the_page_shows_the_records():
    import summary

    page = summary.PAGE.read_text(encoding="utf-8")
    assert summary.with_table(page, summary.table(summary.machines())) == page


def test_every_row_of_the_table_is_in_some_record():
    import summary

    records = summary.machines().values()
    for row in summary.read_rows():
        parent = row.path.rpartition(".")[0]
        assert parent == "series.full" or any(
            summary.find(record, parent) is not None for record in records
        ), row


def test_a_metric_beyond_its_target_is_marked_missed():
    from summary import Row

    fast, small = (
        Row("fast", "a.b", "{:.1f}×", at_least=4),
        Row("small", "a.b", "{:.0f} min", at_most=3, unit=60),
    )
    cells = [fast.cell({"a": {"b": value}}) for value in (3.9, 4.0)]
    assert (fast.target, *cells) == ("≥ 4.0×", "3.9× (missed)", "4.0×")
    assert (small.target, small.cell({"a": {"b": 200}}), small.cell({})) == (
        "≤ 3 min",
        "3 min (missed)",
        "–",
    )


def test_every_curve_has_four_sizes_and_none_grows_faster_than_linearly():
    import summary

    for record in summary.machines().values():
        for place in summary.CURVES.values():
            rows = summary.find(record, place)
            assert len(rows["sizes"]) == len(rows["seconds"]) == 4
            assert rows["exponent"] < 1.2, place


@pytest.mark.parametrize("name", ["README", "STUDIES", "REAL_SIZE"])
def test_tables_of_results_are_made_from_the_record(name):
    import demo_tables

    path = getattr(demo_tables, name)
    assert demo_tables.made(path) == path.read_text(encoding="utf-8")


def test_the_tables_of_whole_heads_are_made_from_the_record():
    import heads_tables

    from oasis_utils.runtime import read_json

    text = heads_tables.PAGE.read_text(encoding="utf-8")
    assert heads_tables.made(read_json(heads_tables.RECORD), text) == text


def test_the_table_of_ten_million_slices_is_that_of_the_record():
    import scale

    page = scale.PAGE.read_text(encoding="utf-8")
    assert scale.with_table(page, scale.table(scale.read_json(scale.RECORD))) == page


def test_hours_fall_with_the_number_of_gpus_but_messages_remain():
    from scale import Counted, hours

    found = Counted(parameters=25_000_000, operations=10e9)
    alone, few, many = (hours(found, devices) for devices in (1, 8, 64))
    assert alone[1] == 1 and alone[0] > few[0] > many[0] > alone[0] / 64
    assert alone[1] > few[1] > many[1]


def test_operations_of_a_convolution_and_of_its_gradient_are_counted():
    from scale import Operations

    x, weight = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 3, 3, requires_grad=True)
    with Operations() as counter:
        y = torch.nn.functional.conv2d(x, weight, padding=1).sum()
        once = counter.total
        y.backward()
    assert once == 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3) and counter.total == 2 * once


# ---------------------------------------------------------------- speed records


def test_a_record_counts_the_first_mark_that_meets_every_target():
    from speed_record import first_mark

    scores = {
        1: [("ssim", 0.8)],
        2: [("ssim", 0.9), ("kid", 0.2)],
        3: [("ssim", 0.9), ("kid", 0.1)],
    }
    looked_at = []

    def score(mark):
        for name, value in scores[mark]:
            looked_at.append((mark, name))
            yield name, value

    found = first_mark({1: 5.0, 2: 9.0, 3: 14.0}, score, "vqvae")
    assert found == {"seconds": 14.0, "steps": 3, "reached": True, "ssim": 0.9, "kid": 0.1}
    assert (1, "kid") not in looked_at  # which is dear
    found = first_mark({1: 5.0, 2: 9.0}, score, "vqvae")
    assert found["seconds"] == 9.0 and not found["reached"] and found["kid"] == 0.2


def test_records_have_five_seeds_and_begin_with_the_first_revision():
    from record_tables import RECORDS

    paths = sorted(RECORDS.glob("*.json"))
    assert "vqvae" in {path.stem for path in paths}
    for path in paths:
        lines = json.loads(path.read_text(encoding="utf-8"))["records"]
        assert lines[0]["revision"].startswith("889d11c")
        for line in lines:
            assert line["seeds"] >= 5 and line["change"] and line["command"]
            assert line["spread"][0] <= line["cpu_seconds"] <= line["spread"][1]


def test_the_page_shows_the_speed_records():
    import record_tables

    assert record_tables.made() == record_tables.PAGE.read_text(encoding="utf-8")


# ---------------------------------------------------------------- peers


def test_a_masked_kernel_sees_only_cells_that_come_before():
    from peers import KerasPixelCNN

    torch.manual_seed(0)
    model, maps = KerasPixelCNN(6).eval(), torch.randint(6, (1, 9, 9))
    changed = maps.clone()
    changed[0, 4, 5] = (changed[0, 4, 5] + 1) % 6
    with torch.no_grad():
        differ = (model(maps) != model(changed)).any(1)[0]
    assert differ.any() and not differ[:4].any() and not differ[4, :6].any()


def test_the_codes_of_the_tutorial_pass_the_gradient_straight_through():
    from peers import KerasVQVAE

    torch.manual_seed(0)
    model = KerasVQVAE(0.1)
    images = torch.rand(2, 1, 16, 16)
    decoded, loss = model(images)
    assert decoded.shape == images.shape
    loss.backward()
    assert model.codes.grad.abs().sum() > 0 and model.encoder[0].weight.grad.abs().sum() > 0


def test_a_peer_is_looked_at_after_each_time_and_ours_is_as_long_as_it(monkeypatch):
    import peers

    clock = iter(range(10_000))
    monkeypatch.setattr(peers.time, "process_time", lambda: float(next(clock)))
    model = torch.nn.Linear(1, 1)
    batches = peers.Batches({"x": torch.ones(8, 1)}, 4, True)
    found = peers.peer(
        model, lambda b: model(b["x"]).square().mean(), 0.1, batches, lambda m: 1.0, [5.0, 2.0]
    )
    assert found == {"2": {"value": 1.0, "steps": 2}, "5": {"value": 1.0, "steps": 5}}


# ---------------------------------------------------------------- sizes


def test_the_docs_show_the_recorded_sizes():
    from sizes import PAGE, RECORD, SIZES, table, with_table

    record, page = json.loads(RECORD.read_text()), PAGE.read_text(encoding="utf-8")
    assert set(record["rows"]) <= {size.name for size in SIZES}
    for name, row in record["rows"].items():
        side, pixels, n_codes = map(int, name.split("/"))
        assert 0 < row["used"] <= n_codes
        cells = (side // pixels) ** 2
        assert row["nats_per_slice"] == pytest.approx(cells * row["nats_per_code"])
    assert with_table(page, table(record)) == page


def test_a_size_is_a_row_of_the_demo_profile_with_other_numbers(tmp_path, monkeypatch, brains):
    """The whole way of one row, with trainings of a moment."""
    import sizes

    monkeypatch.setattr(sizes, "JUDGED", 32)
    monkeypatch.setattr(sizes, "DRAWN_TIMED", 2)
    small = sizes.replace(
        sizes.DEMO.pixelcnn, channels=8, blocks=2, hidden=8, layout=4, n_positions=32
    )
    tiny = sizes.replace(sizes.DEMO.vqvae, channels=16, residual_blocks=1)
    monkeypatch.setattr(sizes, "DEMO", sizes.replace(sizes.DEMO, vqvae=tiny, pixelcnn=small))
    found = sizes.measured(sizes.Size(64, 8, 16), brains, tmp_path, 0.5)
    assert found["steps"] >= 1 and found["prior_steps"] >= 1
    assert 0 <= found["ssim"] <= 1 and found["used"] <= 16
    assert found["nats_per_slice"] == pytest.approx(64 * found["nats_per_code"])
    assert found["kid_drawn"] > -0.1
