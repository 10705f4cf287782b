import pytest
import torch

from dept_vl.adapters import ADAPTERS, DePT, NoAdapter, PromptTuning, build_adapter, from_config
from dept_vl.adapters.contract import BadAdapterSize
from dept_vl.registry import BadArguments, UnknownName


def test_an_adapter_by_name_is_the_constructors(init):
    arguments = {"num_virtual_tokens": 4, "r": 2, "max_length": 6}
    by_name = build_adapter("dept", init, arguments, torch.Generator().manual_seed(1))
    direct = DePT(init, **arguments, generator=torch.Generator().manual_seed(1))
    assert type(by_name) is DePT and by_name.config() == direct.config()
    assert torch.equal(by_name.lora_embedding_A, direct.lora_embedding_A)


def test_an_unknown_adapter_gets_a_suggestion(init):
    message = f"unknown adapter 'dep': wanted one of {', '.join(sorted(ADAPTERS))}. Did you mean 'dept'?"
    with pytest.raises(UnknownName) as error:
        build_adapter("dep", init, {})
    assert str(error.value) == message


def test_an_unknown_argument_gets_a_suggestion(init):
    message = r"wanted the arguments num_virtual_tokens; given unknown num_tokens\. Did you mean 'num_virtual_tokens'\?"
    with pytest.raises(BadArguments, match=message):
        build_adapter("pt", init, {"num_tokens": 4})


def test_a_missing_argument_is_named(init):
    message = (
        r"adapter 'dept': wanted the arguments num_virtual_tokens, r, max_length, lora_alpha, init_weights; "
        r"given no r, max_length\."
    )
    with pytest.raises(BadArguments, match=message):
        build_adapter("dept", init, {"num_virtual_tokens": 4})


def test_the_generator_is_no_argument_of_a_config(init):
    with pytest.raises(BadArguments, match="given unknown generator"):
        build_adapter("dpt", init, {"num_virtual_tokens": 4, "r": 2, "generator": 3})


@pytest.mark.parametrize(
    ("token_dim", "changes", "state", "message"),
    [
        (0, {}, {}, "token_dim .*, given 0"),
        (8, {"num_virtual_tokens": -4}, {}, "num_virtual_tokens .*, given -4"),
        (8, {}, {"trained_length": -1}, "trained_length .*, given -1"),
    ],
)
def test_a_config_with_bad_sizes_is_refused(token_dim, changes, state, message):
    with pytest.raises(BadAdapterSize, match=message):
        from_config("dept", token_dim, {"num_virtual_tokens": 4, "r": 2, "max_length": 6, **changes}, state)


def test_an_adapter_without_state_takes_none():
    with pytest.raises(ValueError, match="PromptTuning: wanted no state, given {'trained_length': 3}"):
        from_config("pt", 8, {"num_virtual_tokens": 4}, {"trained_length": 3})


def test_every_adapter_knows_its_name(init):
    assert (
        ADAPTERS.name_of(PromptTuning(init, num_virtual_tokens=1)) == "pt"
        and ADAPTERS.name_of(NoAdapter(init)) == "none"
    )
