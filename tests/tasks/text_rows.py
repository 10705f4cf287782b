"""Made-up rows of GLUE and SuperGLUE with the hub's fields: two of each task, of different classes; and split sizes."""

from dept_vl.data.text_splits import ROLES, published_split, split_rows


def split_sizes(splits, published):
    """How many rows train, val and test get of published splits of these sizes."""
    return tuple(len(split_rows(splits, role, published[published_split(splits, role)])) for role in ROLES)


ROWS = {
    "cola": [{"sentence": "The boat sails.", "label": 1, "idx": 0}, {"sentence": "The sails boat the.", "label": 0}],
    "sst2": [{"sentence": "a warm film ", "label": 1, "idx": 0}, {"sentence": "dull and long ", "label": 0}],
    "mrpc": [
        {"sentence1": "Ann left.", "sentence2": "Ann is gone.", "label": 1, "idx": 0},
        {"sentence1": "Ann left.", "sentence2": "Bo stayed.", "label": 0, "idx": 1},
    ],
    "qqp": [
        {"question1": "How tall is it?", "question2": "What is its height?", "label": 1, "idx": 0},
        {"question1": "How tall is it?", "question2": "How old is it?", "label": 0, "idx": 1},
    ],
    "stsb": [
        {"sentence1": "A cat sat.", "sentence2": "A cat sat down.", "label": 4.25, "idx": 0},
        {"sentence1": "A cat sat.", "sentence2": "Rain fell.", "label": 0.0, "idx": 1},
    ],
    "mnli": [
        {"premise": "Ann sings.", "hypothesis": "Ann is silent.", "label": 2, "idx": 0},
        {"premise": "Ann sings.", "hypothesis": "Ann has a voice.", "label": 0, "idx": 1},
    ],
    "qnli": [
        {"question": "Who sings?", "sentence": "Ann sings.", "label": 0, "idx": 0},
        {"question": "Who sings?", "sentence": "Rain fell.", "label": 1, "idx": 1},
    ],
    "rte": [
        {"sentence1": "Ann sings in Ghent.", "sentence2": "Ann sings.", "label": 0, "idx": 0},
        {"sentence1": "Ann sings in Ghent.", "sentence2": "Bo sings.", "label": 1, "idx": 1},
    ],
    "superglue-boolq": [
        {"question": "do ducks fly", "passage": "Ducks -- Most ducks fly well.", "label": 1, "idx": 0},
        {"question": "do stones fly", "passage": "Stones -- Stones lie still.", "label": 0, "idx": 1},
    ],
    "superglue-cb": [
        {"premise": "Ann thinks that it rains.", "hypothesis": "it rains", "label": 2, "idx": 0},
        {"premise": "Ann knows that it rains.", "hypothesis": "it rains", "label": 0, "idx": 1},
    ],
    "superglue-copa": [
        {"premise": "It rained.", "choice1": "The sun set.", "choice2": "The road got wet.", "question": "effect"}
        | {"label": 1, "idx": 0},
        {"premise": "Ann ran.", "choice1": "She was late.", "choice2": "She slept.", "question": "cause"}
        | {"label": 0, "idx": 1},
    ],
    "superglue-multirc": [
        {"paragraph": "<b>Sent 1: </b>Ann fed ducks.<br>Bo swam.", "question": "Who was fed?", "answer": "ducks"}
        | {"idx": {"paragraph": 3, "question": 17, "answer": 40}, "label": 1},
        {"paragraph": "<b>Sent 1: </b>Ann fed ducks.<br>Bo swam.", "question": "Who was fed?", "answer": "<b>Bo</b>"}
        | {"idx": {"paragraph": 3, "question": 17, "answer": 41}, "label": 0},
    ],
    "superglue-record": [
        {"passage": 'Ann left Ghent.\n@highlight\nGhent is "old"\n@highlight\nBruges too\n@highlight\nAnn likes it'}
        | {"query": "@placeholder has old houses.", "entities": ["Ann", "Bruges", "Ghent"]}
        | {"answers": ["Bruges", "Ghent"], "idx": {"passage": 5, "query": 9}},
        {"passage": "Bo swam.", "query": "@placeholder is wet.", "entities": ["Bo"], "answers": ["Bo"]}
        | {"idx": {"passage": 6, "query": 10}},
    ],
    "superglue-rte": [
        {"premise": "Ann sings in Ghent.", "hypothesis": "Ann sings.", "label": 0, "idx": 0},
        {"premise": "Ann sings in Ghent.", "hypothesis": "Bo sings.", "label": 1, "idx": 1},
    ],
    "superglue-wic": [
        {"word": "run", "sentence1": "A run home.", "sentence2": "He went for a run.", "start1": 2, "end1": 5}
        | {"start2": 14, "end2": 17, "label": 1, "idx": 0},
        {"word": "bank", "sentence1": "The river bank.", "sentence2": "A bank lent it.", "start1": 10, "end1": 14}
        | {"start2": 2, "end2": 6, "label": 0, "idx": 1},
    ],
    "superglue-wsc.fixed": [
        {"text": "Ann fed the duck because it cried.", "span1_index": 2, "span1_text": "the duck"}
        | {"span2_index": 5, "span2_text": "it", "label": 1, "idx": 0},
        {"text": "When she came, Bo waved to Ann.", "span1_index": 3, "span1_text": "Bo"}
        | {"span2_index": 1, "span2_text": "she", "label": 0, "idx": 1},
    ],
}
