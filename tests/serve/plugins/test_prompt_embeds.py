"""Prompt embeddings: plain transformers over them answers as `AdaptedModel` does."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from dept_vl.adapters import ADAPTERS
from dept_vl.cli import main
from dept_vl.saved import UnexportableAdapter
from dept_vl.serve.plugins.prompt_embeds import prompt_embeds, write_prompt_embeds

SENTENCES = [
    {"sentence": "a red circle"},
    {"sentence": "how many big blue star there ?"},
    {"sentence": "yes"},
    {"sentence": "where is the square above the triangle"},
]
FOLDABLE = sorted(name for name, method in ADAPTERS.items() if name != "none" and not method.reads_text)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("method", FOLDABLE)
def test_plain_transformers_over_the_embeddings_answers_as_we_do(causal_folders, load_text, method, kind, tmp_path):
    model = load_text(causal_folders[kind], method, kind="causal")
    assert model.adapters.find("default").adapter.fold() is not None
    plain = AutoModelForCausalLM.from_pretrained(causal_folders[kind]).eval()
    pad = model.tokenizer.pad_token_id
    answers = []
    for place, embeds in enumerate(prompt_embeds(model, SENTENCES)):
        write_prompt_embeds(tmp_path / f"{place}.pt", embeds)
        embeds = torch.load(tmp_path / f"{place}.pt", weights_only=True)  # as vLLM reads it
        assert embeds.ndim == 2 and embeds.shape[1] == 32
        given = {"attention_mask": torch.ones(1, len(embeds), dtype=torch.int64), "pad_token_id": pad}
        ids = plain.generate(inputs_embeds=embeds[None], max_new_tokens=5, do_sample=False, **given)
        answers.append(model.tokenizer.decode(ids[0], skip_special_tokens=True).strip())
    assert answers == model.generate(SENTENCES)
    assert len(set(answers)) > 2, "a model that always says the same tests nothing"


def test_the_file_of_a_request_has_the_request_alone(causal_folders, load_text, tmp_path):
    model = load_text(causal_folders["gpt2"], kind="causal")
    embeds = torch.randn(500, 7, 32)[3]  # a view of much more
    write_prompt_embeds(tmp_path / "one.pt", embeds)
    assert (tmp_path / "one.pt").stat().st_size < 5_000
    assert torch.equal(torch.load(tmp_path / "one.pt", weights_only=True), embeds)
    assert len(list(prompt_embeds(model, []))) == 0


def test_an_encoder_decoder_is_refused(save, load):
    with pytest.raises(UnexportableAdapter, match="wanted a decoder-only model, given an encoder-decoder"):
        prompt_embeds(load(save("dept", visual=False)), ["a"])


def test_the_command_writes_a_file_a_row(causal_folders, save_text, tmp_path, capfd):
    folder = save_text(causal_folders["gpt2"], kind="causal")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in SENTENCES))
    words = ["--adapter", folder, "--backbone", causal_folders["gpt2"], "--rows", rows, "--dtype", "bfloat16"]
    main(["export", "--format", "prompt-embeds", "--output", str(tmp_path / "out"), *map(str, words)])
    lines = [json.loads(line) for line in (tmp_path / "out" / "requests.jsonl").read_text().splitlines()]
    assert capfd.readouterr().out == f"4 requests, listed in {tmp_path / 'out' / 'requests.jsonl'}\n"
    assert [line["sentence"] for line in lines] == [row["sentence"] for row in SENTENCES]
    for line in lines:
        embeds = torch.load(tmp_path / "out" / line["prompt_embeds"], weights_only=True)
        assert embeds.dtype == torch.bfloat16 and embeds.shape == (line["tokens"], 32)


def test_rows_belong_to_prompt_embeds_alone(capsys):
    for words in (["--format", "peft", "--rows", "a.jsonl"], ["--format", "prompt-embeds"]):
        with pytest.raises(SystemExit) as stop:
            main(["export", "--adapter", "a", "--output", "b", *words])
        assert stop.value.code == 2 and "--rows or --image: wanted one of them" in capsys.readouterr().err
