"""References once, then a folder of queries.

python examples/inspect_folder.py
"""

from pathlib import Path

from lad_reasoner import Failure, Inspector
from lad_reasoner.miniloco import draw_picture

folder = Path("runs/example")
(folder / "query").mkdir(parents=True, exist_ok=True)

# Four good pictures, two queries, and a file that is no picture.
references = [draw_picture("bolt_plate", "train", "good", index).image for index in range(4)]
draw_picture("bolt_plate", "test", "good", 1).image.save(folder / "query/good.png")
draw_picture("bolt_plate", "test", "logical", 4).image.save(folder / "query/bad.png")
(folder / "query/broken.png").write_bytes(b"not a picture")

inspector = Inspector("evidence", references)
for result in inspector.inspect_many(sorted((folder / "query").iterdir())):
    if isinstance(result, Failure):
        print(f"{result.query}: not judged: {result.error}")
    else:
        print(f"{result.query}: {'anomalous' if result.anomalous else 'good'} ({result.score:.2f}) {result.headline}")
