"""Small sets of shards for the tests of shards, and what is in them."""

import itertools

import numpy as np

from oasis_utils.data.shards import open_shards, writing


def numbered_rows(n, first=0, size=4):
    """n different pictures, darker on the right half, with their number as position."""
    numbers = np.arange(first, first + n)
    images = np.random.default_rng(first).integers(128, 256, (n, size, size), dtype=np.uint8)
    images[..., size // 2 :] //= 4
    return {"images": images, "positions": numbers, "subjects": numbers // 8}


def write_numbered(folder, sizes, first=0, size=4):
    """Shards of these sizes; returns them opened, and all their rows."""
    rows = numbered_rows(sum(sizes), first, size)
    starts = np.cumsum([0, *sizes]).tolist()
    with writing(folder, {"first": first, "sizes": list(sizes)}) as writer:
        for start, stop in itertools.pairwise(starts):
            if not writer.keep(stop - start):
                writer.write({name: values[start:stop] for name, values in rows.items()})
    return open_shards(folder), rows
