import pickle
from collections import Counter

import numpy as np

from dept_vl.data.token_table import TokenTable


def test_rows_come_back_as_they_went_in():
    table = TokenTable([[5], np.array([6, 7, 8]), []])
    assert [table[row].tolist() for row in range(3)] == [[5], [6, 7, 8], []]
    assert len(table) == 3 and table.lengths.tolist() == [1, 3, 0] and table[0].dtype == np.int32


def test_padding_is_on_the_right_up_to_the_longest_of_the_rows():
    table = TokenTable([[5], [6, 7, 8], [9, 9], []])
    assert table.padded([2, 0], fill=-1).tolist() == [[9, 9], [5, -1]]
    assert table.padded([1, 3], fill=0).tolist() == [[6, 7, 8], [0, 0, 0]]
    assert table.padded([0], fill=0).dtype == np.int64


def test_an_empty_table_and_pickling():
    assert len(TokenTable([])) == 0
    again = pickle.loads(pickle.dumps(TokenTable([[1, 2], [3]], Counter(cut=3, context_cut=2))))
    assert [again[row].tolist() for row in range(2)] == [[1, 2], [3]]
    assert [again.counts[name] for name in ("cut", "context_cut", "beyond_context_cut")] == [3, 2, 0]
