"""Parse untrusted YAML: plain data of a bounded size; one error."""

from typing import Any

import yaml

from dept_vl.untrusted.lfs_pointers import as_pointer

MOST_BYTES = 128 * 2**10  # the reader takes 10 s for a million; our longest file has 8 thousand
MOST_NODES = 100_000  # after each alias stands for a copy of what it names


class NotYaml(ValueError):
    """Text that is no YAML of a fair size; its message goes behind "given"."""


def parse_yaml(text: str | bytes) -> Any:
    """As `yaml.safe_load`. Raises: NotYaml."""
    if given := as_pointer(text[:100].encode(errors="replace") if isinstance(text, str) else text):
        raise NotYaml(given)
    if len(text) > MOST_BYTES:
        raise NotYaml(f"{len(text):,} bytes of it, more than {MOST_BYTES:,}")
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_NODES:
            raise NotYaml(f"aliases that stand for more than {MOST_NODES:,} values")
        return loader.construct_document(node)
    except RecursionError as error:
        raise NotYaml("something nested too deeply") from error
    except yaml.YAMLError as error:
        raise NotYaml(f"something else ({' '.join(str(error).split())})") from error
    except NotYaml:
        raise
    except (ValueError, TypeError, OverflowError) as error:  # days that are none, numbers too long, no UTF-8
        raise NotYaml(f"something else ({error})") from error


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """The values below a node, those of an alias counted wherever it stands. A list that holds itself is endless."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1
        inside = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for each in inside for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
