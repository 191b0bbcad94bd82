"""Which views are drawn, mixed and shrunk."""

from __future__ import annotations

import numpy as np
import torch

from askew_training.data.batches import Draw
from askew_training.train.matching.views import Partner, Reading, ViewPlan, mixed, resized
from askew_training.train.reader import LoadedBatch

SHAPES = [(96, 96)] * 4 + [(68, 96)] * 2


def plan(mix: float = 0.0, fixed: int | None = None, may_mix: bool = True, sizes: tuple[int, ...] = (96,)) -> ViewPlan:
    return ViewPlan(3, SHAPES, mix, np.full(6, may_mix), fixed, 96, sizes)


def loaded(*levels: int) -> LoadedBatch:
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 96, 96, 3)
    places = torch.arange(len(levels))
    return LoadedBatch([(pixels, places)], places, places, [])


def test_fixed_views_return_after_k_epochs_and_are_all_seen_before() -> None:
    batch = [Draw(photo, 0) for photo in range(6)]
    by_epoch = [plan(mix=0.5, fixed=3).reading(batch, epoch) for epoch in range(6)]
    assert [each.draws[0].view for each in by_epoch] == [0, 1, 2, 0, 1, 2]
    assert by_epoch[0] == by_epoch[3] and plan(fixed=3).read_epoch(5) == 0
    assert plan().reading(batch, 5).draws == batch and plan().read_epoch(5) == 5
    # What is mixed in depends on the photo and its view, not on the rest of the batch.
    alone = plan(mix=1.0, fixed=3).reading([Draw(2, 0)], 1)
    together = plan(mix=1.0, fixed=3).reading([Draw(0, 0), Draw(2, 0)], 4)
    assert alone.draws[1] == together.draws[3]
    assert alone.partners[0].share == together.partners[1].share


def test_partners_have_the_same_shape_and_labelled_photos_can_be_left_alone() -> None:
    reading = plan(mix=1.0).reading([Draw(photo, 0) for photo in range(6)], 0)
    assert reading.own == 6 and sorted(reading.partners) == list(range(6))
    for number, partner in reading.partners.items():
        one, other = reading.draws[number].photo, reading.draws[partner.draw].photo
        assert one != other and SHAPES[one] == SHAPES[other]
    assert not plan(mix=1.0, may_mix=False).reading([Draw(0, 0)], 0).partners
    shares = [len(plan(mix=0.3).reading([Draw(0, 0)], epoch).partners) for epoch in range(400)]
    assert 0.2 < np.mean(shares) < 0.4


def test_partners_are_mixed_in_and_dropped() -> None:
    reading = Reading([Draw(0, 0), Draw(1, 0), Draw(2, 9)], 2, {1: Partner(2, 0.25)})
    views = mixed(loaded(10, 100, 200), reading)
    assert views.photos.tolist() == [0, 1] and len(views.groups[0][0]) == 2
    assert views.groups[0][0][:, 0, 0, 0].tolist() == [10, 125]


def test_a_view_whose_partner_cannot_be_read_is_left_out() -> None:
    reading = Reading([Draw(0, 0), Draw(1, 0), Draw(2, 9)], 2, {0: Partner(2, 0.5)})
    views = mixed(loaded(10, 100), reading)
    assert views.draws.tolist() == [1]
    assert views.groups[0][1].tolist() == [0] and int(views.groups[0][0][0, 0, 0, 0]) == 100


def test_the_size_of_a_batch_is_drawn_from_the_seed_and_its_views_are_shrunk_to_it() -> None:
    chosen = [plan(sizes=(48, 96)).size(epoch, 0) for epoch in range(40)]
    assert set(chosen) == {48, 96} and chosen == [plan(sizes=(48, 96)).size(epoch, 0) for epoch in range(40)]
    small = resized(loaded(7), 0.5, torch.device("cpu"))
    assert small.groups[0][0].shape == (1, 48, 48, 3) and small.groups[0][0].unique().tolist() == [7]
    # A network needs 32 px.
    assert resized(loaded(7), 0.1, torch.device("cpu")).groups[0][0].shape == (1, 32, 32, 3)
