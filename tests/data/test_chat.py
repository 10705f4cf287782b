"""A text is the user's turn of the model's own template; its tokens are known, and the answer ends with the turn."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from dept_vl.data.batches import EncodedExamples
from dept_vl.data.chat import BadChatTemplate, turn_of
from dept_vl.data.text import NoRoom, encode_targets, tokenise
from dept_vl.tasks.example import Example

SPECIAL = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "chatml with a system turn": "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}" + CHATML,
    "gemma": (
        "<s>{% for m in messages %}{{ '<start_of_turn>' }}{{ 'user' if m['role'] == 'user' else 'model' }}{{ '\n' }}"
        "{{ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "llama 2": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<s>[INST] ' + m['content'] | trim + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] | trim + ' </s>' }}{% endif %}{% endfor %}"
    ),
    "with a thought": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
        "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}
TURNS = {
    "chatml": ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "", "<|im_end|>"),
    "chatml with a system turn": (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n",
        "", "<|im_end|>",
    ),
    "gemma": ("<s><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "", "<end_of_turn>"),
    "llama 2": ("<s>[INST] ", " [/INST]", " ", "</s>"),
    "with a thought": (
        "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "", "<|im_end|>",
    ),
}  # fmt: skip
TEXT = "is the red square there?"


@pytest.fixture(params=TEMPLATES)
def name(request):
    return request.param


@pytest.fixture
def tokenizer(name):
    return byte_level(TEMPLATES[name])


def byte_level(template):
    """A tokenizer of bytes whose special tokens stay whole, with a merge of a space and a letter."""
    vocabulary = [*SPECIAL, *bytes_to_unicode().values(), "Ġr", "Ġt"]
    backend = Tokenizer(models.BPE({token: id for id, token in enumerate(vocabulary)}, [("Ġ", "r"), ("Ġ", "t")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=list(SPECIAL[3:]),
    )  # fmt: skip
    tokenizer.chat_template = template
    return tokenizer


def test_a_turn_is_read_off_the_template(tokenizer, name):
    before, after, lead, end = TURNS[name]
    turn = turn_of(tokenizer)
    assert (turn.before, turn.after, turn.lead) == (before, after, lead)
    assert tokenizer.convert_ids_to_tokens(turn.end) == end


def test_a_source_is_what_the_template_makes_of_the_text(tokenizer, name):
    (row,) = [*tokenise(tokenizer, [TEXT], 500, kind="chat")]
    before, after, _, _ = TURNS[name]
    assert tokenizer.decode(row) == before + TEXT + after
    plain = tokenizer.apply_chat_template(
        [{"role": "user", "content": TEXT}], add_generation_prompt=True, tokenize=False
    )
    assert (before + TEXT + after).startswith(plain)


def test_the_span_of_a_row_is_its_text_and_nothing_of_the_template(tokenizer):
    table = tokenise(tokenizer, [TEXT, "", "red"], 500, kind="chat")
    texts = [tokenizer.decode(table[row][first:end]) for row, (first, end) in enumerate(table.spans)]
    assert [text.strip() for text in texts] == [TEXT, "", "red"]


def test_a_cut_takes_from_the_text_and_never_from_the_template(tokenizer, name):
    before, after, _, _ = TURNS[name]
    whole = tokenise(tokenizer, [TEXT], 500, kind="chat")
    around = int(whole.lengths[0] - (whole.spans[0, 1] - whole.spans[0, 0]))
    table = tokenise(tokenizer, [TEXT], around + 4, kind="chat")
    (first, end), row = table.spans[0], table[0]
    assert end - first == 4 and table.counts["cut"] == 1
    cut = tokenizer.decode(row).removeprefix(before.rstrip(" ")).removesuffix(after)
    assert TEXT.startswith(cut.strip()) and 0 < len(cut.strip()) < len(TEXT)
    with pytest.raises(NoRoom, match=f"wanted at least {around}, .* the chat template, given {around - 1}"):
        tokenise(tokenizer, [TEXT], around - 1, kind="chat")


def test_source_and_target_together_are_the_whole_conversation(tokenizer, name):
    source = tokenise(tokenizer, [TEXT], 500, kind="chat")[0]
    (target,) = encode_targets(tokenizer, ["yes"], "chat")
    messages = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "yes"}]
    conversation = tokenizer.apply_chat_template(messages, tokenize=False)
    read = tokenizer.decode([*source, *target])
    assert conversation.replace(" </s>", "</s>").startswith(read)
    assert tokenizer.convert_ids_to_tokens(target[-1]) == TURNS[name][3]


def test_a_batch_marks_the_texts_tokens(tokenizer):
    examples = [Example(place, text, ("yes",), (1.0,), ("yes",)) for place, text in enumerate([TEXT, "red"])]
    encoded = EncodedExamples(examples, tokenizer, kind="chat", max_source_length=500, max_target_length=8)
    batch = encoded.collate([1, 0], None)
    assert batch.covered.shape == batch.input_ids.shape
    texts = [tokenizer.decode(ids[covered == 1]) for ids, covered in zip(batch.input_ids, batch.covered, strict=True)]
    assert [text.strip() for text in texts] == ["red", TEXT]
    assert (batch.covered <= batch.mask).all()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, ["wanted a tokenizer with a chat template"]),
        ("{{ raise_exception('only two turns') }}", ["only two turns"]),
        ("{% for m in messages %}{{ m['content'] }}{{ m['content'] }}{% endfor %}", ["2 times"]),
        ("{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}", ["0 times"]),
        ("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}", ["special token"]),
        ("{% for m in messages %}", ["given one that ends in"]),
    ],
)
def test_a_template_that_a_turn_cannot_be_read_off_is_refused(template, words):
    tokenizer = byte_level(template)
    with pytest.raises(BadChatTemplate) as refusal:
        turn_of(tokenizer)
    assert all(word in str(refusal.value) for word in words)
