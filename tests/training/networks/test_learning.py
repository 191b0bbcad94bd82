"""Frozen statistics, and groups of parameters."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from askew_training.networks.learning import freeze_statistics, parameter_groups
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network
from askew_training.networks.pooling import GeM, GeMmp, RegionalGeM
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import picture, tiny_network

POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)


def exponent_of(branch: Branch) -> nn.Parameter:
    pool = branch.pool
    assert isinstance(pool, GeM | GeMmp | RegionalGeM)
    return pool.p


def test_frozen_statistics_do_not_change_while_the_rest_learns() -> None:
    network = tiny_network()
    freeze_statistics(network)
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    optimiser = torch.optim.SGD([{**group} for group in parameter_groups(network, 0.1, 0.0)])
    for _ in range(2):
        network.train()
        assert network.training and network.branches[0].trunk.training and not norm.training
        network(torch.from_numpy(picture(64, 64))[None])[0, 0].backward()
        optimiser.step()
    assert torch.equal(norm.running_mean, before[0])
    assert not torch.equal(norm.weight, before[1])
    plain = tiny_network().train()
    assert all(module.training for module in plain.modules())


def test_the_exponent_learns_ten_times_faster_and_never_decays() -> None:
    network = Network([Branch(Trunk(TINY_TRUNK), 8), Branch(Trunk(TINY_TRUNK), 8)])
    pools, rest = parameter_groups(network, 1e-3, 1e-6)
    exponents = [exponent_of(branch) for branch in network.branches]
    assert [id(p) for p in pools["params"]] == [id(p) for p in exponents]
    assert (pools["lr"], pools["weight_decay"]) == pytest.approx((1e-2, 0.0))
    assert (rest["lr"], rest["weight_decay"]) == (1e-3, 1e-6)
    assert len(pools["params"]) + len(rest["params"]) == len(list(network.parameters()))
    torch.optim.AdamW([{**pools}, {**rest}]).zero_grad()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter is not exponents[1])
    assert [len(group["params"]) for group in parameter_groups(network, 1e-3, 1e-6)] == [1, len(rest["params"])]
    network.requires_grad_(False)
    assert parameter_groups(network, 1e-3, 1e-6) == []


def test_exponents_of_channels_learn_a_hundred_times_faster_and_never_decay() -> None:
    network = Network([Branch(Trunk(TINY_TRUNK), 8, name) for name in POOLINGS])
    shared, by_channel, rest = parameter_groups(network, 1e-3, 1e-6)
    branches = dict(zip(POOLINGS, network.branches, strict=True))
    assert [id(p) for p in shared["params"]] == [id(exponent_of(branches[name])) for name in ("gem", "rgem")]
    assert [id(p) for p in by_channel["params"]] == [id(exponent_of(branches["gemmp"]))]
    assert (shared["lr"], shared["weight_decay"]) == pytest.approx((1e-2, 0.0))
    assert (by_channel["lr"], by_channel["weight_decay"]) == pytest.approx((1e-1, 0.0))
    regional = branches["rgem"].pool
    assert isinstance(regional, RegionalGeM) and any(p is regional.whiten.weight for p in rest["params"])
    assert len(rest["params"]) + 3 == len(list(network.parameters()))
