"""Two judges on the same pairs, and whether they differ.

python examples/measure.py
"""

from lad_reasoner import compare, evaluate
from lad_reasoner.evaluation.comparison import to_markdown

for model in ("random", "pixel-difference"):
    metrics = evaluate(model, "miniloco", out=f"runs/example-{model}", limit=20)
    accuracy = metrics.pooled.balanced_accuracy
    print(f"{model}: balanced accuracy {accuracy.percent()} % {accuracy.percent_interval()}")

print(to_markdown(compare(["runs/example-random", "runs/example-pixel-difference"])))
