"""Train an adapter and the visual projection for captioning, and score them on the test split.

accelerate launch scripts/train_caption.py                                  # DePT on the embedded default
accelerate launch scripts/train_caption.py --config configs/paper/coco_dept.yaml --task.root data/coco
"""

from dept_vl.cli import train

if __name__ == "__main__":
    train.main(kind="caption")
