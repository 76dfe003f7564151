"""Answers of readers: right numbers for known answers, and one line for files that do not fit."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from oasis_utils.cli.parser import main
from oasis_utils.evaluation.model_card import model_card
from oasis_utils.evaluation.readers import read_study, reader_results, verdict
from oasis_utils.runtime import DataError
from oasis_utils.runtime.report import plain

N = 30  # trials of each prior, each of another person
SIDES = np.random.default_rng(0).permutation(2 * N) % 2  # 1: the generated slice is on the right


def side(right):
    return "right" if right else "left"


def key_of(study="abc"):
    return {
        "schema": "oasis_utils.reader_key",
        "version": 1,
        "study": study,
        "data": "sample brains",
        "seed": 0,
        "trials": [
            {
                "trial": f"{number:04x}",
                "prior": ("dcgan", "pixelcnn")[number % 2],
                "generated": side(right),
                "subject": number,
                "position": 3,
                "age": None,
                "sample": number,
            }
            for number, right in enumerate(SIDES)
        ],
    }


def answers_of(reader, wrong=(), study="abc"):
    return {
        "schema": "oasis_utils.reader_answers",
        "version": 1,
        "study": study,
        "reader": reader,
        "experience": "",
        "answers": [
            {
                "trial": f"{number:04x}",
                "choice": side(right != (number in wrong)),
                "milliseconds": 900,
            }
            for number, right in enumerate(SIDES)
        ],
    }


@pytest.fixture
def files(tmp_path):
    """Writes {name: JSON value} and returns the paths of names."""

    def write(**values):
        for name, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        return tmp_path

    write(key=key_of(), a=answers_of("A"), b=answers_of("B"))
    return write


def results_of(folder, *names):
    return reader_results(
        *read_study(folder / "key.json", [folder / f"{name}.json" for name in names])
    )


def test_known_answers_of_one_reader(files):
    wrong = range(0, 40, 2)  # 20 of the DCGAN's 30
    found = results_of(files(a=answers_of("A", wrong)), "a")
    dcgan, pixelcnn = found["dcgan"], found["pixelcnn"]
    expected = binomtest(10, N)
    assert (dcgan.readers, dcgan.trials, dcgan.people) == (1, N, N)
    assert dcgan.accuracy == pytest.approx(1 / 3)
    assert dcgan.p_value == pytest.approx(expected.pvalue)
    assert dcgan.accuracy_interval == pytest.approx(tuple(expected.proportion_ci(method="wilson")))
    assert (pixelcnn.accuracy, pixelcnn.fleiss_kappa) == (1, None)
    assert "more often than by guessing (p < 0.001)" in pixelcnn.verdict
    assert dcgan.verdict.startswith("One reader points at the generated slice of a pair in 33% (95")
    assert "not shown to differ from guessing" in dcgan.verdict


def test_readers_agree_on_what_they_see_and_not_on_what_is_right(files):
    wrong = range(0, 60, 4)
    found = results_of(files(a=answers_of("A", wrong), b=answers_of("B", wrong)), "a", "b")
    assert found["dcgan"].fleiss_kappa == found["pixelcnn"].fleiss_kappa == pytest.approx(1)
    assert found["dcgan"].accuracy == 0.5 and found["dcgan"].p_value == 1
    other = answers_of("B", set(range(60)) - set(wrong))
    found = results_of(files(b=other), "a", "b")
    assert found["dcgan"].fleiss_kappa == pytest.approx(-1, abs=0.01)
    low, high = found["dcgan"].accuracy_interval
    assert low == high == 0.5  # each trial has one right and one wrong answer


def test_readers_who_take_real_for_generated_are_not_called_guessing(files):
    found = results_of(files(a=answers_of("A", range(60))), "a")["dcgan"]
    assert found.accuracy == 0 and "less often than by guessing" in found.verdict
    assert "(95 %" not in verdict(dataclasses.replace(found, accuracy_interval=None))


def repeated(value, field):
    return value | {field: [*value[field][1:], value[field][1]]}


def one_answer_less(value):
    return value | {"answers": value["answers"][1:]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": answers_of("A", study="xyz")}, "a.json belongs to the study xyz, the key to abc"),
        ({"a": "{"}, "a.json holds no JSON"),
        ({"a": "[1]"}, "a.json does not hold answers as its page saves them"),
        ({"a": key_of()}, "a.json holds a key: give it with --key"),
        ({"key": answers_of("A")}, "key.json holds answers: give them with --answers"),
        ({"key": {"schema": "x"}}, "key.json does not hold a key as `readers` writes it"),
        ({"key": key_of() | {"trials": []}}, "key.json holds no trials"),
        ({"key": repeated(key_of(), "trials")}, "key.json has the trial 0001 twice"),
        ({"a": repeated(answers_of("A"), "answers")}, "a.json has the trial 0001 twice"),
        ({"a": one_answer_less(answers_of("A"))}, "a.json answers 59 of 60 trials"),
        (
            {"key": key_of() | {"trials": key_of()["trials"][1:]}},
            "a.json answers the trial 0000, which the key does not have",
        ),
        ({"b": answers_of(" a ")}, "are both of the reader ' a ': give one file for each"),
        ({"a": answers_of("A") | {"answers": [{"trial": "0"}]}}, "answers.0.choice"),
        ({"a": answers_of("A") | {"version": 2}}, "a.json: 'version'"),
    ],
)
def test_files_that_do_not_fit_are_named_in_one_line(files, change, message, capsys):
    folder = files(**change)
    with pytest.raises(DataError, match=".") as error:
        results_of(folder, "a", "b")
    assert message in str(error.value)
    words = ["evaluate", "none.npz", "--against", "none", "--key", str(folder / "key.json")]
    words += ["--answers", *(str(folder / f"{name}.json") for name in "ab")]
    assert main(words) == 1  # before the slices are read
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1 and "unexpected" not in line


def test_key_and_answers_come_together_and_are_not_written_over(files, capsys):
    folder = files()
    key, answers = str(folder / "key.json"), str(folder / "a.json")
    words = ["evaluate", "none.npz", "--against", "none"]
    for part in (["--key", key], ["--answers", answers]):
        assert main([*words, *part]) == 2
        assert "give both" in capsys.readouterr().err
    for out in (key, answers):
        assert main([*words, "--key", key, "--answers", answers, "--json", out]) == 1
        assert "is read by this command" in capsys.readouterr().err


def test_the_card_has_a_section_only_with_readers(files, monkeypatch):
    from oasis_utils.evaluation import model_card as module

    for name in ("metric_rows", "variety_rows"):
        monkeypatch.setattr(module, name, lambda *_: {"KID": {"better": "lower"}})
    monkeypatch.setattr(module, "_limits", lambda _: [])
    plain_set = {"verdicts": {}, "comparisons": {"decoded": None}}
    assert "## Readers" not in model_card({"them": plain_set | {"readers": None}}, {})
    found = plain(results_of(files(), "a", "b"))
    card = model_card({"them": plain_set | {"readers": found}}, {})
    section = card.split("## Readers")[1]
    for name in ("dcgan", "pixelcnn"):
        assert f"- *{name}*: {found[name]['verdict']} Fleiss' κ: 1.00." in section
