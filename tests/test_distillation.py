"""Learning from a teacher for each task of a mixture: what the loss is, and what it trains."""

import dataclasses

import pytest
import torch

from dept_vl.adapters import Teachers, build_adapter
from dept_vl.backbones import load_backbone, mean_nats
from dept_vl.model import Batch, Network
from tests.tiny_models import write_tiny_llama
from tests.tiny_runs import batch_of

TOKENS = 3


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(params=["seq2seq", "causal"])
def make(request, byte_t5, llama):
    """An MPT of three tasks, whose teachers have prompts of their own."""

    def make(*, dropout: bool = False, same: bool = False) -> Network:
        folder = byte_t5 if request.param == "seq2seq" else llama
        backbone = load_backbone(str(folder), kind=request.param, attn_implementation="eager")
        rows = torch.randn(TOKENS, backbone.d_model, generator=torch.Generator().manual_seed(0))
        adapter = build_adapter("mpt", rows, {"num_virtual_tokens": TOKENS, "num_tasks": 3})
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in adapter.parameters():
                weight.normal_(generator=generator)
        network = Network(backbone, {"adapter": adapter}, backbone_dropout=dropout)
        own = torch.stack([adapter.for_task(task).fold().prompt for task in range(3)])
        others = torch.randn(own.shape, generator=generator)
        network.teachers = Teachers(own if same else others, 0.9)
        return network

    return make


@pytest.fixture
def batch() -> Batch:
    found = batch_of([5, 3, 8, 6], features=False, targets=[3, 1, 2, 3])
    labels = found.labels.where(found.labels < 0, found.labels % 50 + 3)
    ids = (found.input_ids % 50 + 3) * found.mask
    return Batch(ids, found.mask, labels, ids=found.ids, right_padded=True, tasks=torch.tensor([2, 0, 1, 2]))


def row_of(batch: Batch, row: int) -> Batch:
    length, targets = int(batch.mask[row].sum()), int((batch.labels[row] != -100).sum())
    own = slice(row, row + 1)
    return Batch(
        batch.input_ids[own, :length], batch.mask[own, :length], batch.labels[own, :targets], ids=(row,),
        right_padded=True, tasks=batch.tasks[own],
    )  # fmt: skip


def test_a_student_that_is_its_teacher_loses_what_the_data_says_alone(make, batch):
    """With the frozen model's dropout too: both see the same draws."""
    for dropout in (False, True):
        network = make(dropout=dropout, same=True).train()
        torch.manual_seed(5)
        distilled = network(batch)
        state = torch.get_rng_state()
        torch.manual_seed(5)
        nats = network.backbone.loss(*network.embed(batch), batch.labels)
        torch.testing.assert_close(distilled, nats, rtol=1e-4, atol=1e-5)
        assert torch.equal(torch.get_rng_state(), state), "the teacher draws nothing of its own"


def test_each_row_learns_from_its_own_tasks_teacher_whatever_stands_beside_it(make, batch):
    network = make().train()
    together = network(batch)
    for row in range(4):
        alone = row_of(batch, row)
        torch.testing.assert_close(network(alone)[0], together[row], rtol=1e-4, atol=1e-4)
        plain = mean_nats(network.backbone.logits(*network.embed(alone), alone.labels), alone.labels)
        assert together[row] > plain[0] + 0.01
        others = dataclasses.replace(network.teachers, prompts=network.teachers.prompts.clone())
        others.prompts[[task for task in range(3) if task != int(alone.tasks)]] += 1
        network.teachers, kept = others, network.teachers
        torch.testing.assert_close(network(alone)[0], together[row], rtol=1e-4, atol=1e-4)
        others.prompts[int(alone.tasks)] += 1
        assert not torch.allclose(network(alone)[0], together[row], rtol=1e-3)
        network.teachers = kept


def test_its_weight_scales_the_distance(make, batch):
    network = make().train()
    plain = network.backbone.loss(*network.embed(batch), batch.labels)
    once = network(batch) - plain
    network.teachers = dataclasses.replace(network.teachers, weight=1.8)
    torch.testing.assert_close(network(batch) - plain, 2 * once, rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_student_and_no_teacher(make, batch):
    network = make().train()
    before = network.teachers.prompts.clone().requires_grad_()
    network.teachers = dataclasses.replace(network.teachers, prompts=before)
    network(batch).sum().backward()
    assert before.grad is None
    assert all(weight.grad.abs().sum() > 0 for weight in network.adapter.parameters())
    assert set(network.trained_state()) == {f"adapter.{name}" for name, _ in network.adapter.named_parameters()}


def test_evaluation_and_a_network_without_teachers_read_no_teacher(make, batch):
    network = make().eval()
    evaluated = network(batch)
    assert network.training_flops(batch) is None
    network.teachers = None
    torch.testing.assert_close(network(batch), evaluated)
    torch.testing.assert_close(network.train()(batch), evaluated, rtol=1e-4, atol=1e-5)


def test_a_batch_that_names_no_task_is_refused(make, batch):
    network = make().train()
    with pytest.raises(ValueError, match="teachers of 3 tasks: wanted each row's task, given none"):
        network(dataclasses.replace(batch, tasks=None))
