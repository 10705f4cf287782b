"""Train an adapter on text tasks, one or several in turn or at once (--task.mixture), and score each on its test split.

accelerate launch scripts/train_text.py                                     # DePT on all generated text tasks
accelerate launch scripts/train_text.py --task cola,rte --task.root data    # official files below data/
"""

from dept_vl.cli import train

if __name__ == "__main__":
    train.main(kind="text")
