"""Show what is understood of your own file; or write the generated Shapes, or check a downloaded set, file by file.

    python scripts/prepare_data.py reviews.csv                    # your own: lines, and a page with five examples
    python scripts/prepare_data.py shapes --root data/shapes
    python scripts/prepare_data.py vqa --root data/vqa2
    python scripts/prepare_data.py cola --root data/glue --protocol official_dev

Flags of training mean what they mean there (train_vqa.py --help): --task, --task.columns, --backbone... and others.
"""

from dept_vl.cli import prepare

if __name__ == "__main__":
    prepare.main()
