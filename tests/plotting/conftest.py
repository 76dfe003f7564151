"""Set-up of the tests of figures."""

import matplotlib.pyplot as plt
import pytest

from oasis_utils import plotting


@pytest.fixture
def shared_style():
    """Figures in the style of the notebooks, closed at the end."""
    with plt.rc_context():
        plotting.use_style()
        yield
    plt.close("all")
