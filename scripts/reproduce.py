"""Re-does the papers: rows of their tables beside the published scores, and studies on the embedded default.

python scripts/reproduce.py --list                               # every figure and table, and where it stands
python scripts/reproduce.py --paper dept --figure 5 --fast       # a study; --all: all of them, and the page
python scripts/reproduce.py --dry-run                            # checks every row of every paper, runs nothing
python scripts/reproduce.py --table 1 --method dept --task superglue-cb
"""

import sys

from dept_vl.cli import plain_errors
from dept_vl.plans.papers import main

if __name__ == "__main__":
    with plain_errors("reproduce"):
        sys.exit(main())
