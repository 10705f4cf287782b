import pytest
import torch

from dept_vl.vision.projection import VisualProjection


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_known_size_of_the_clip_t5_base_shape():
    projection = VisualProjection(2048, 768, 36)
    assert count(projection) == 2048 * 768 + 768 + 768 + 36 * 768 == 1_602_048
    assert count(projection) + 76_800 == 1_678_848


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


def test_the_norm_takes_away_the_scale_of_a_patch():
    projection = VisualProjection(5, 4, 3)
    torch.nn.init.zeros_(projection.linear.bias)
    features = torch.randn(2, 3, 5)
    torch.testing.assert_close(projection(features), projection(features * 100), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_stored_features_are_projected_in_fp32(dtype):
    projection = VisualProjection(5, 4, 3)
    features = torch.randn(2, 3, 5).to(dtype)
    assert projection(features).dtype == torch.float32
    assert torch.equal(projection(features), projection(features.float()))


def test_autocast_changes_nothing():
    projection = VisualProjection(8, 4, 3)
    features = torch.randn(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = projection(features)
    assert out.dtype == torch.float32 and torch.equal(out, projection(features))


def test_every_weight_gets_a_gradient():
    projection = VisualProjection(5, 4, 3)
    (projection(torch.randn(2, 3, 5)) * torch.randn(2, 3, 4)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in projection.parameters())


def test_a_generator_decides_the_start():
    first, same, other = (VisualProjection(5, 4, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    state, different = first.state_dict(), other.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in same.state_dict().items())
    assert {n for n in state if torch.equal(state[n], different[n])} == {"norm_weight", "scale"}


def test_the_scale_multiplies_everything_and_does_not_train():
    plain, scaled = (VisualProjection(5, 4, 3, torch.Generator().manual_seed(1), scale=scale) for scale in (1.0, 8.0))
    features = torch.randn(2, 3, 5)
    torch.testing.assert_close(scaled(features), 8 * plain(features))
    assert count(plain) == count(scaled) and "scale" in scaled.state_dict()
    with pytest.raises(ValueError, match="wanted a finite scale > 0, given 0"):
        VisualProjection(5, 4, 3, scale=0.0)


def test_features_of_another_store_are_refused():
    projection = VisualProjection(5, 4, 3)
    with pytest.raises(ValueError, match="wanted 3 patches of width 5, given 2 of width 6: were these"):
        projection(torch.randn(1, 2, 6))


@pytest.mark.parametrize("sizes, named", [((0, 4, 3), "in_dim"), ((5, -4, 3), "d_model"), ((5, 4, 0), "num_patches")])
def test_impossible_sizes_are_refused(sizes, named):
    with pytest.raises(ValueError, match=f"wanted {named} >= 1, given {min(sizes)}"):
        VisualProjection(*sizes)
