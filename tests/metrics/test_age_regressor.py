"""Age estimated from slices."""

import numpy as np

from oasis_utils.metrics.age_regressor import AgeRegressor, age_features
from oasis_utils.metrics.grey_ranges import RANGES


def holes(ages, positions, seed=0, side=32):
    """Bright discs with a dark centre that is larger the older the person and the higher the
    slice.
    """
    rng = np.random.default_rng(seed)
    line = np.arange(side) - (side - 1) / 2
    distance = np.hypot(*np.meshgrid(line, line)) / side
    size = 0.05 + ages / 500 + positions / 40
    image = np.where(distance < size[:, None, None], 60.0, 200.0) * (distance < 0.45)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def learned(n, seed):
    rng = np.random.default_rng(seed)
    ages, positions = rng.uniform(20, 90, n), rng.integers(0, 4, n)
    return age_features(holes(ages, positions, seed)), positions / 4, ages


def test_features_are_those_of_sixteen_regions():
    assert age_features(holes(np.array([30.0]), np.array([0]))).shape == (1, 16 * RANGES)


def test_age_is_not_mistaken_for_position():
    features, heights, ages = learned(200, 0)
    new, new_heights, true = learned(60, 1)
    model = AgeRegressor.fit(features, heights, ages)
    known = np.abs(model.predict(new, new_heights) - true).mean()
    blind = AgeRegressor.fit(features, 0 * heights, ages)
    unknown = np.abs(blind.predict(new, 0 * new_heights) - true).mean()
    print(f"error {known:.1f} years with positions, {unknown:.1f} without")
    assert known < 6 < unknown < np.abs(true - ages.mean()).mean()


def test_far_from_all_training_slices_the_mean_age_is_found():
    features, heights, ages = learned(50, 0)
    found = AgeRegressor.fit(features, heights, ages).predict(features[:3], heights[:3] + 100)
    np.testing.assert_allclose(found, ages.mean())


def test_a_single_training_slice_is_enough():
    features, heights, _ = learned(3, 0)
    model = AgeRegressor.fit(features[:1], heights[:1], np.array([40.0]))
    np.testing.assert_allclose(model.predict(features, heights), 40)
