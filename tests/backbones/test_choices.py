"""The terms of (IA)^3's recipe for wrong labels: by hand, alone and among others, and in a run."""

import pytest
import torch
from transformers import AutoTokenizer

from dept_vl.backbones import Choices
from dept_vl.config import BadConfig, OptimConfig
from dept_vl.data.batches import EncodedExamples
from dept_vl.model import Batch
from dept_vl.run.assembly import choices_of
from dept_vl.run.execute import run
from dept_vl.tasks import TASKS, Example
from tests.tiny_models import write_tiny_llama
from tests.tiny_runs import batch_of, build_network, randomise, text_experiment, write_cola

LABELS = [[5, 1], [7, 9, 1], [5, 4, 1]]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(params=["seq2seq", "causal"])
def network(request, byte_t5, llama):
    return randomise(build_network(byte_t5 if request.param == "seq2seq" else llama, projection=False))


def labelled(rights: list[int], width: int = 3) -> Batch:
    batch = batch_of([5, 3, 6][: len(rights)], features=False)
    labels = torch.full((len(rights), width), -100)
    for row, right in enumerate(rights):
        labels[row, : len(LABELS[right])] = torch.tensor(LABELS[right])
    return Batch((batch.input_ids % 50 + 3) * batch.mask, batch.mask, labels, ids=batch.ids)


def by_hand(network, batch: Batch, row: int, right: int) -> tuple[float, float]:
    embeds, mask = (each[row : row + 1] for each in network.embed(batch))
    means, wrong = [], []
    for number, label in enumerate(LABELS):
        target = torch.tensor([label])
        nats = network.backbone.logits(embeds, mask, target).log_softmax(-1)[0, range(len(label)), label]
        means.append(nats.mean())
        wrong += [] if number == right else [-torch.log(1 - nats.exp() + 0.01)]
    return -torch.stack(means).log_softmax(0)[right].item(), torch.cat(wrong).mean().item()


def test_both_terms_are_those_of_the_equations(network):
    network.eval()
    batch, rights = labelled([1, 0, 2]), [1, 0, 2]
    own, ranking, unlikelihood = Choices(LABELS).losses(network.backbone, *network.embed(batch), batch.labels)
    torch.testing.assert_close(own, network(batch))
    for row, right in enumerate(rights):
        assert (ranking[row].item(), unlikelihood[row].item()) == pytest.approx(
            by_hand(network, batch, row, right), rel=1e-4
        )


def test_the_training_loss_has_them_and_the_others_do_not(network):
    batch = labelled([1, 0], width=5)
    network.eval()
    plain = network(batch)
    network.choices, network.label_smoothing = Choices(LABELS), 0.1
    torch.testing.assert_close(network(batch), plain)
    terms = network.choices.losses(network.backbone, *network.embed(batch), batch.labels, 0.1)
    assert (terms[0] != plain).all(), "smoothed"
    torch.testing.assert_close(network.train()(batch), sum(terms))


def test_what_is_no_choice_is_refused(network):
    with pytest.raises(ValueError, match="wanted at least two labels to choose among, given 1"):
        Choices(LABELS[:1])
    batch = labelled([0, 1])
    batch.labels[1, 0] = 6
    with pytest.raises(ValueError, match="wanted targets that are labels, given 1 that are none"):
        Choices(LABELS).losses(network.backbone, *network.embed(batch), batch.labels)


@pytest.mark.usefixtures("afresh")
def test_a_run_trains_with_them_where_its_task_has_labels(byte_t5, tmp_path):
    root, pt = write_cola(tmp_path / "data"), {"name": "pt", "args": {"num_virtual_tokens": 2}}
    optim = OptimConfig(lr={"prompt": 0.1}, choice_losses=True)
    config = text_experiment(byte_t5, root, tmp_path / "run", adapter=pt, optim=optim, max_steps=1, eval_steps=0)
    results = run(config)
    assert results["train_info"]["steps"] == 1 and not results["train_info"]["flops"]


@pytest.mark.parametrize(("names", "given"), [(["squad"], "squad"), (["cola", "rte"], "cola, rte")])
def test_a_task_without_labels_and_several_tasks_are_refused(byte_t5, names, given):
    tokenizer = AutoTokenizer.from_pretrained(byte_t5)
    with pytest.raises(BadConfig, match=f"wanted one task that chooses among labels, given {given}$"):
        choices_of([TASKS[name] for name in names], [], tokenizer, "seq2seq")


def test_training_targets_that_are_no_labels_are_refused_before_training(byte_t5):
    tokenizer = AutoTokenizer.from_pretrained(byte_t5)
    examples = [Example(each, "a text", (each,), (1.0,), (each,)) for each in ("0", "2")]
    facts = {"kind": "seq2seq", "trained": True, "max_source_length": 20, "max_target_length": 4}
    train = EncodedExamples(examples, tokenizer, **facts)
    with pytest.raises(BadConfig, match="labels of cola, given 1 of 2 that are none, or are cut at task.max_target"):
        choices_of([TASKS["cola"]], [train], tokenizer, "seq2seq")
