"""The laws of a projection, over every one that is registered; then the default's known values."""

import pytest
import torch

from dept_vl.registry import BadArguments, UnknownName
from dept_vl.vision.projections import PROJECTIONS, VisualProjection, build_projection

ARGUMENTS = {
    "mlp": {"hidden": 6},
    "pixel_shuffle": {"factor": 2},
    "resampler": {"num_queries": 3, "num_layers": 2, "width": 8, "num_heads": 2},
}
TOKENS = {"pixel_shuffle": 4, "resampler": 3}


def count(module):
    return sum(p.numel() for p in module.parameters())


def toy(name, seed=0, scale=1.0):
    """16 patches of width 5 to tokens of width 4."""
    return build_projection(name, ARGUMENTS.get(name, {}), 5, 4, 16, torch.Generator().manual_seed(seed), scale=scale)


@pytest.fixture(params=sorted(PROJECTIONS))
def name(request):
    return request.param


def test_known_sizes_of_the_t5_base_shape():
    sizes = {name: count(build_projection(name, {}, 2048, 768, 36)) for name in PROJECTIONS}
    assert sizes == {"linear": 1_602_048, "mlp": 2_192_640, "pixel_shuffle": 6_299_904, "resampler": 1_274_880}


def test_the_docstring_tells_the_count(name):
    import sys

    text = sys.modules[PROJECTIONS[name].__module__].__doc__
    assert f"{count(build_projection(name, {}, 2048, 768, 36)):,}" in text


def test_a_projection_gives_as_many_tokens_as_it_says(name):
    projection = toy(name)
    assert projection.num_tokens == TOKENS.get(name, 16) and PROJECTIONS.name_of(projection) == name
    assert projection(torch.randn(2, 16, 5)).shape == (2, projection.num_tokens, 4)


def test_rows_are_projected_each_for_itself(name):
    projection, features = toy(name), torch.randn(3, 16, 5)
    alone = torch.cat([projection(features[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(projection(features), alone)


def test_tokens_start_at_the_scale(name):
    tokens = toy(name, scale=8.0)(torch.randn(64, 16, 5))
    assert tokens.square().mean().sqrt().item() == pytest.approx(8.0, rel=0.01)


def test_the_scale_multiplies_everything_and_does_not_train(name):
    plain, scaled, features = toy(name), toy(name, scale=8.0), torch.randn(2, 16, 5)
    torch.testing.assert_close(scaled(features), 8 * plain(features))
    assert count(plain) == count(scaled) and "scale" in scaled.state_dict()
    with pytest.raises(ValueError, match="wanted a finite scale > 0, given 0"):
        toy(name, scale=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_stored_features_are_projected_in_fp32(name, dtype):
    projection, features = toy(name), torch.randn(2, 16, 5).to(dtype)
    assert projection(features).dtype == torch.float32
    assert torch.equal(projection(features), projection(features.float()))


def test_autocast_changes_nothing(name):
    projection, features = toy(name), torch.randn(2, 16, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = projection(features)
    assert out.dtype == torch.float32 and torch.equal(out, projection(features))


def test_every_weight_gets_a_gradient(name):
    projection = toy(name)
    (projection(torch.randn(2, 16, 5)) * torch.randn(2, projection.num_tokens, 4)).sum().backward()
    assert all(p.grad.abs().sum() > 1e-6 for p in projection.parameters())
    assert [id(p) for p in projection.param_groups()["projection"]] == [id(p) for p in projection.parameters()]


def test_a_generator_decides_the_start(name):
    state, same, different = (toy(name, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(state[key], tensor) for key, tensor in same.items())
    equal = {key for key in state if torch.equal(state[key], different[key])}
    norms = {key for key in state if "norm" in key}
    assert equal == norms | {"scale"}


def test_every_patch_is_read(name):
    projection, features = toy(name), torch.randn(1, 16, 5, requires_grad=True)
    projection(features).square().sum().backward()
    assert (features.grad.abs().sum(dim=2) > 0).all()


def test_config_builds_the_same_again(name):
    projection, features = toy(name), torch.randn(2, 16, 5)
    again = build_projection(name, projection.config(), 5, 4, 16)
    assert again.config() == projection.config()
    again.load_state_dict(projection.state_dict())
    assert torch.equal(again(features), projection(features))


def test_features_of_another_store_are_refused(name):
    with pytest.raises(ValueError, match="wanted 16 patches of width 5, given 2 of width 6: were these"):
        toy(name)(torch.randn(1, 2, 6))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("linaer", {}, "unknown projection 'linaer': .* Did you mean 'linear'"),
        ("mlp", {"hiden": 3}, "wanted one of hidden, given 'hiden'. Did you mean 'hidden'"),
        ("mlp", {"hidden": 0}, "wanted hidden to be an integer >= 1, given 0"),
        ("mlp", {"hidden": True}, "wanted hidden to be an integer >= 1, given True"),
        ("linear", {"scale": 2.0}, "wanted the scale in vision.projection_scale"),
        ("pixel_shuffle", {"factor": 3}, r"wanted a factor that divides .* given factor 3 and 16 patches \(4 x 4\)"),
        ("pixel_shuffle", {"factor": 0}, "wanted factor to be an integer >= 1, given 0"),
        ("resampler", {"num_queries": True}, "wanted num_queries to be an integer >= 1, given True"),
        ("resampler", {"num_layers": 10**12}, "wanted num_layers <= 64, given 1000000000000"),
        ("resampler", {"width": 10, "num_heads": 4}, "wanted num_heads that divide width 10, given 4"),
    ],
)
def test_impossible_arguments_are_refused(name, arguments, message):
    with pytest.raises((UnknownName, BadArguments, ValueError), match=message):
        build_projection(name, arguments, 5, 4, 16)


def test_patches_that_are_no_square_are_not_shuffled():
    with pytest.raises(ValueError, match="given factor 2 and 32 patches, which are no square"):
        build_projection("pixel_shuffle", {}, 5, 4, 32)


def test_a_shuffled_token_holds_the_patches_of_its_square_row_by_row():
    projection = toy("pixel_shuffle")
    with torch.no_grad():
        projection.linear.weight.zero_()
        projection.linear.bias.zero_()
        projection.linear.weight[0, :].fill_(1)
    cells = torch.arange(16.0)[None, :, None].expand(1, 16, 5)
    # Token (row 1, column 0) of 2 x 2 holds cells (2, 0), (2, 1), (3, 0), (3, 1) of 4 x 4.
    assert projection.map(cells)[0, 2, 0] == 5 * (8 + 9 + 12 + 13)


def test_a_resampler_does_not_tell_orders_of_patches_apart_but_by_their_places():
    projection, features = toy("resampler"), torch.randn(2, 16, 5)
    order = torch.randperm(16)
    assert not torch.allclose(projection(features), projection(features[:, order]))
    torch.nn.init.zeros_(projection.places)
    torch.testing.assert_close(projection(features), projection(features[:, order]))


def test_forward_is_the_equation():
    projection = VisualProjection(5, 4, 3)
    torch.nn.init.uniform_(projection.norm_weight)
    features = torch.randn(2, 3, 5)
    y = features @ projection.linear.weight.T + projection.linear.bias
    y = y / (y.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    wanted = y * projection.norm_weight + projection.positions
    torch.testing.assert_close(projection(features), wanted)


def test_patches_differ_by_their_position_row_alone():
    projection = VisualProjection(5, 4, 3)
    out = projection(torch.randn(2, 1, 5).expand(2, 3, 5))
    torch.testing.assert_close(out - out[:, :1], (projection.positions - projection.positions[:1]).expand(2, 3, 4))
    assert (out[:, 0] != out[:, 1]).all()


def test_a_standardised_projection_reads_features_that_have_no_mean_and_a_spread_of_one():
    shifted = VisualProjection(5, 4, 3, torch.Generator().manual_seed(0), standardise=True)
    plain = VisualProjection(5, 4, 3, torch.Generator().manual_seed(0))
    features = (torch.randn(50, 3, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + 10).half().float()
    torch.testing.assert_close(shifted(features), plain(features))  # until it has seen any
    shifted.fit(features.half())
    rows = features.flatten(0, 1)
    even = ((rows - rows.mean(0)) / rows.std(0, correction=0)).unflatten(0, (50, 3))
    torch.testing.assert_close(shifted(features), plain(even), rtol=1e-4, atol=1e-4)
    assert "mean" in shifted.state_dict() and "mean" not in dict(shifted.named_parameters())
    features[..., 2] = 7.0  # a feature that never varied does not drown the others where it does
    shifted.fit(features)
    assert shifted.std[2] == 1 and (shifted.std[:2] > 0.5).all()


@pytest.mark.parametrize("name", sorted(PROJECTIONS))
def test_a_look_at_features_changes_nothing_unless_asked(name):
    projection, features = toy(name), torch.randn(2, 16, 5)
    before = projection(features)
    projection.fit(torch.randn(9, 16, 5) + 3)
    assert torch.equal(projection(features), before)


def test_the_norm_takes_away_the_scale_of_a_patch():
    projection = VisualProjection(5, 4, 3)
    torch.nn.init.zeros_(projection.linear.bias)
    features = torch.randn(2, 3, 5)
    torch.testing.assert_close(projection(features), projection(features * 100), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes, named", [((0, 4, 3), "in_dim"), ((5, -4, 3), "d_model"), ((5, 4, 0), "num_patches")])
def test_impossible_sizes_are_refused(sizes, named):
    with pytest.raises(ValueError, match=f"wanted {named} to be an integer >= 1, given {min(sizes)}"):
        VisualProjection(*sizes)
