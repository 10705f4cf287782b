"""`adapt`: the HF Trainer gets the losses of our own loop, and what it saves and generates is ours."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

import dept_vl
from dept_vl.adapters import ADAPTERS as METHODS
from dept_vl.backbones.quirks import UnsupportedType
from dept_vl.data.batches import TrainingBatches
from dept_vl.model import Batch, MismatchedParts
from dept_vl.saved import MismatchedBackbone
from dept_vl.serve.plugins.adapt import AdaptedLM, WrongLabels
from dept_vl.train.optim import build_optimizer, build_schedule
from tests.tiny_runs import (
    ADAPTERS,
    RATES,
    batch_of,
    build_network,
    encode,
    fit_toy,
    kind_of,
    losses,
    toy_examples,
    write_byte_causal,
)

STEPS, ROWS = 6, 4
pytestmark = pytest.mark.usefixtures("afresh")


@pytest.fixture(scope="session")
def byte_gpt2(tmp_path_factory):
    return write_byte_causal(tmp_path_factory.mktemp("byte_gpt2"))


@pytest.fixture(params=["seq2seq", "causal"])
def folder(request, byte_t5, byte_gpt2):
    return byte_t5 if request.param == "seq2seq" else byte_gpt2


def hf_model(folder):
    load = AutoModelForSeq2SeqLM if kind_of(folder) == "seq2seq" else AutoModelForCausalLM
    return load.from_pretrained(folder, attn_implementation="eager")


def adapted(folder, name="dept", **sizes):
    """As `build_network` starts it."""
    return dept_vl.adapt(hf_model(folder), build_network(folder, name, projection=False, **sizes).adapter)


class TextBatches(TrainingBatches):
    def __init__(self, encoded, gather, **arguments):
        super().__init__(encoded, None, **arguments)


def rows_of(folder):
    """What our loop reads in its steps, row after row, in HF's form."""
    batches = TextBatches(encode(folder, toy_examples(20))[1], None, batch_size=ROWS, seed=11)
    return [row for number in range(STEPS) for row in in_hf_form(batches[number], kind_of(folder))]


def in_hf_form(batch, kind):
    ids, mask, labels = batch.input_ids, batch.mask, batch.labels
    if kind == "causal":
        answer = labels != -100
        ids = torch.cat([ids, torch.where(answer, labels, 0)], dim=1)
        labels = torch.cat([torch.full_like(mask, -100), labels], dim=1)
        mask = torch.cat([mask, answer.long()], dim=1)
    return [{"input_ids": a, "attention_mask": b, "labels": c} for a, b, c in zip(ids, mask, labels, strict=True)]


def stack(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def trainer_of(model, folder, output, *, trainer=Trainer, arguments=TrainingArguments, **more):
    optimizer = build_optimizer(
        model.param_groups(), RATES, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-6
    )  # fmt: skip
    given = arguments(
        output_dir=str(output), use_cpu=True, report_to="none", disable_tqdm=True, max_steps=STEPS,
        per_device_train_batch_size=ROWS, per_device_eval_batch_size=ROWS, train_sampling_strategy="sequential",
        max_grad_norm=1.0, **more,
    )  # fmt: skip
    schedule = build_schedule(optimizer, name="linear", max_steps=STEPS, warmup_steps=0.1)
    return trainer(
        model, given, data_collator=stack, train_dataset=rows_of(folder), eval_dataset=rows_of(folder)[:6],
        optimizers=(optimizer, schedule),
    )  # fmt: skip


def recorded(model):
    found = []
    model.register_forward_hook(lambda module, given, output: found.append(output.loss.item()))
    return found


@pytest.mark.parametrize("trainer", [Trainer, Seq2SeqTrainer])
def test_the_trainer_gets_the_losses_of_our_loop(folder, trainer, tmp_path):
    network = build_network(folder, projection=False)
    fit_toy(network, folder, tmp_path / "ours", steps=STEPS, batches=TextBatches, max_grad_norm=1.0)
    model = adapted(folder)
    found = recorded(model)
    arguments = Seq2SeqTrainingArguments if trainer is Seq2SeqTrainer else TrainingArguments
    trainer_of(model, folder, tmp_path / "hf", trainer=trainer, arguments=arguments, save_strategy="no").train()
    wanted = losses(tmp_path / "ours")
    assert len(found) == STEPS
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert model.network.state() == network.state(), "how far training reached"
    start = build_network(folder, projection=False).trained_state()
    for name, value in network.trained_state().items():
        torch.testing.assert_close(model.network.trained_state()[name], value, rtol=0, atol=1e-4)
        assert (value - start[name]).abs().max() > 0.01, "nothing was learnt: the comparison is empty"


def test_a_checkpoint_of_the_trainer_holds_the_adapter_alone_and_resumes(byte_t5, tmp_path):
    model = adapted(byte_t5)
    whole = recorded(model)
    trainer_of(model, byte_t5, tmp_path, save_steps=3).train()
    [saved] = (tmp_path / "checkpoint-3").glob("model.safetensors")
    assert saved.stat().st_size < 10_000
    again = adapted(byte_t5)
    rest = recorded(again)
    trainer_of(again, byte_t5, tmp_path, save_steps=100).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    np.testing.assert_allclose(rest, whole[3:], atol=1e-6)
    assert again.network.state() == model.network.state() != {"adapter": {}}


def test_the_trainer_s_answers_are_the_network_s(t5_folder, tmp_path):
    model = adapted(t5_folder)
    more = {"predict_with_generate": True, "generation_max_length": 6, "save_strategy": "no"}
    trainer = trainer_of(
        model, t5_folder, tmp_path, trainer=Seq2SeqTrainer, arguments=Seq2SeqTrainingArguments, **more
    )  # fmt: skip
    seen = []
    trainer.compute_metrics = lambda given: seen.append(given) or {"rows": len(given.predictions)}
    assert trainer.evaluate()["eval_rows"] == 6
    rows, wanted = rows_of(t5_folder)[:6], []
    for batch in (stack(rows[:ROWS]), stack(rows[ROWS:])):  # questions of one length are one question
        wanted += model.network.generate(Batch(batch["input_ids"], batch["attention_mask"]), max_new_tokens=5).tolist()
    assert seen[0].predictions[:, :6].tolist() == wanted and len({tuple(row) for row in wanted}) > 1


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"none"}))
def test_only_the_adapter_trains_and_every_group_gets_a_gradient(folder, name):
    model = adapted(folder, name).train()
    trained = {id(weight) for group in model.param_groups().values() for weight in group}
    assert {id(weight) for weight in model.parameters() if weight.requires_grad} == trained
    model(**stack(in_hf_form(batch_of([3, 5], features=False), kind_of(folder)))).loss.backward()
    for group in model.param_groups().values():
        assert any(weight.grad is not None for weight in group)


def test_the_logits_of_a_causal_model_stand_where_hf_has_them(byte_gpt2):
    """Against the plain model over the same embeddings, on either side of the pads."""
    model = adapted(byte_gpt2, "pt").eval()
    plain = hf_model(byte_gpt2).eval()
    row = torch.tensor([[7, 8, 9, 20, 21, 22]])
    labels = torch.tensor([[-100, -100, -100, 20, 21, 22]])
    with torch.no_grad():
        prompt = model.network.adapter.prompt_embeddings[None]
        embeds = torch.cat([prompt, plain.get_input_embeddings()(row)], dim=1)
        wanted = plain(inputs_embeds=embeds).logits[:, prompt.shape[1] :]
        nats = torch.nn.functional.cross_entropy(wanted[0, 2:5], row[0, 3:])
        for side in (0, 2):
            ids, mask = torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 8, dtype=torch.int64)
            given = torch.full((1, 8), -100)
            ids[:, side : side + 6], mask[:, side : side + 6], given[:, side : side + 6] = row, 1, labels
            output = model(ids, mask, given)
            assert output.logits.shape == (1, 8, 300)
            torch.testing.assert_close(output.logits[:, side + 2 : side + 5], wanted[:, 2:5], rtol=1e-5, atol=1e-5)
            assert not output.logits[:, : side + 2].any() and not output.logits[:, side + 5 :].any()
            torch.testing.assert_close(output.loss, nats)


def test_without_labels_the_logits_are_the_next_token_s(folder):
    model = adapted(folder).eval()
    batch = batch_of([3, 5], features=False, targets=[1, 1])
    first = model(batch.input_ids, batch.mask).logits
    with torch.no_grad():
        wanted = model.network.backbone.logits(*model.network.embed(batch), batch.labels)
    torch.testing.assert_close(first, wanted, rtol=1e-5, atol=1e-5)


def test_what_is_saved_loads_and_goes_on(folder, tmp_path):
    model = adapted(folder).train()
    rows = stack(in_hf_form(batch_of([3, 5], features=False), kind_of(folder)))
    model(**rows).loss.backward()
    torch.optim.SGD(model.param_groups()["low_rank"], lr=1.0).step()
    model.save_pretrained(tmp_path, is_main_process=False)
    assert not list(tmp_path.iterdir())
    model.save_pretrained(tmp_path)
    before = model.eval()(**rows).loss
    again = dept_vl.adapt(hf_model(folder), tmp_path).eval()
    assert torch.equal(again(**rows).loss, before)
    assert again.network.state() == {"adapter": {"trained_length": 5}}
    assert dept_vl.load_adapter(tmp_path).fold() is not None
    with pytest.raises(MismatchedBackbone):
        other = hf_model(folder)
        other.get_input_embeddings().weight.data += 1
        dept_vl.adapt(other, tmp_path)


def test_generate_passes_transformers_options_on_and_keeps_the_mode(folder):
    model = adapted(folder).train()
    batch = batch_of([3, 5], features=False)
    torch.manual_seed(5)
    drawn = model.generate(batch.input_ids, batch.mask, max_new_tokens=4, do_sample=True, temperature=2.0)
    assert model.training
    torch.manual_seed(5)
    again = model.generate(batch.input_ids, batch.mask, max_new_tokens=4, do_sample=True, temperature=2.0)
    greedy = model.generate(batch.input_ids, batch.mask, max_new_tokens=4)
    assert torch.equal(drawn, again) and drawn.tolist() != greedy.tolist()
    assert torch.equal(greedy, model.eval().network.generate(batch, max_new_tokens=4))
    longest = 5 if kind_of(folder) == "seq2seq" else batch.input_ids.shape[1] + 4
    assert torch.equal(greedy, model.generate(batch.input_ids, batch.mask, max_length=longest))
    with pytest.raises(ValueError, match="max_length: wanted more than the .* given 1; give max_new_tokens"):
        model.generate(batch.input_ids, batch.mask, max_length=1)


def test_recomputed_activations_give_the_same_gradient(folder):
    gradients = []
    for recompute in (False, True):
        model = adapted(folder).train()
        if recompute:
            model.gradient_checkpointing_enable()
        model(**stack(in_hf_form(batch_of([3, 5], features=False), kind_of(folder)))).loss.backward()
        gradients.append(model.param_groups()["prompt"][0].grad)
    torch.testing.assert_close(*gradients)


def test_labels_that_are_not_the_end_of_a_row_are_refused(byte_gpt2):
    model, ids = adapted(byte_gpt2), torch.tensor([[5, 6, 7, 8], [5, 6, 7, 8]])
    with pytest.raises(WrongLabels, match=r"wanted \[2, 4\], .*given \[2, 1\]"):
        model(ids, labels=ids[:, :1])
    labels = torch.tensor([[-100, -100, 7, 8], [-100, 6, -100, 8]])
    with pytest.raises(WrongLabels, match="row 1: wanted labels that repeat the last tokens"):
        model(ids, labels=labels)
    with pytest.raises(ValueError, match="at least one target token"):
        model(ids, labels=torch.full_like(ids, -100))


def test_models_and_adapters_that_do_not_fit_are_refused(byte_t5, save, tmp_path):
    with pytest.raises(UnsupportedType, match="wanted a model of AutoModelForSeq2SeqLM or AutoModelForCausalLM"):
        dept_vl.adapt(AutoModel.from_pretrained(byte_t5), build_network(byte_t5).adapter)
    with pytest.raises(MismatchedParts, match="adapter: wanted width 16"):
        dept_vl.adapt(hf_model(byte_t5), METHODS["pt"](torch.zeros(3, 8), num_virtual_tokens=3))
    with pytest.raises(MismatchedParts, match="wanted an adapter alone, given one with projection"):
        AdaptedLM.from_pretrained(save("dept"))
    model = adapted(byte_t5)
    with pytest.raises(MismatchedParts, match="no adapter.prompt_embeddings"):
        model.load_state_dict({}, strict=False)
    assert set(ADAPTERS) == set(METHODS)
