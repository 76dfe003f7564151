"""The Colin27 template: its scales, and the notice of its licence."""

from importlib import resources

import numpy as np

from oasis_utils.data.template import load_template


def test_template_is_on_the_tissue_scale():
    template = load_template()
    assert (
        template.tissue.shape
        == template.depth.shape
        == template.sulcus_share.shape
        == (68, 217, 181)
    )
    assert template.tissue.dtype == np.float32
    level = tuple(int(i) for i in template.origin)
    corona_radiata = template.tissue[level[0] + 28, level[1] + 10, level[2] - 26]
    frontal_horn = template.tissue[level[0] + 14, level[1] - 16, level[2] - 8]
    assert corona_radiata > 1.7
    assert frontal_horn < 0.3
    assert template.depth[level] > 30 and template.depth[0, 0, 0] < -30


def test_template_is_loaded_once():
    assert load_template() is load_template()


def test_notice_travels_with_the_template():
    notice = (resources.files("oasis_utils.data") / "assets/NOTICE.md").read_text(encoding="utf-8")
    for words in (
        "Holmes",
        "Copyright (C) 1993-2009 Louis Collins",
        "Permission to use, copy",
        "as is",
    ):
        assert words in notice
