"""A judge of your own in one file.

lad-reasoner inspect --model brightness:Brightness -M share=0.7 --reference good.png query.png
"""

from PIL import ImageStat

from lad_reasoner import Judgement


class Brightness:
    """Says anomalous when the query is darker than `share` of the reference."""

    name, prompt_version, batch_size, notes, parameters = "brightness", "brightness-1", 1, (), None

    def __init__(self, share: float = 0.8) -> None:
        self.share = share

    def judge(self, pairs):
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair):
        ratio = grey(pair.query) / grey(pair.references[0])
        score = min(1.0, max(0.0, 1 - ratio / (2 * self.share)))
        return Judgement(
            "yes" if score >= 0.5 else "no", score, reasoning=f"Its brightness is {ratio:.2f} of the reference's."
        )


def grey(picture):
    return ImageStat.Stat(picture.image.convert("L")).mean[0] + 1
