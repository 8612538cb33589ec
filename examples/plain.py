"""An engine of your own: here Transformers' plain `generate`, in place of this project's decoding.

    lad-reasoner inspect --model plain:Plain -M checkpoint=micro --reference good.png query.png

Another runtime takes its place in `write`: pictures in, text out. Nothing holds this text to the form of a response;
one without it is an invalid answer. There is no score either, so that metrics over thresholds are left out.
"""

from collections.abc import Sequence

from lad_reasoner import Judgement, PicturePair
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.prompts import PROMPT_VERSION, RESPONSE_TOKENS, build_messages


class Plain:
    """A vision-language checkpoint, a folder or a hub name, one pair at a time."""

    prompt_version, batch_size, notes = PROMPT_VERSION, 1, ()

    def __init__(self, checkpoint: str = "micro") -> None:
        self.checkpoint = load_checkpoint(checkpoint)
        self.name = f"{checkpoint} (plain)"
        self.parameters = self.checkpoint.model.num_parameters()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        return [Judgement.of(self.write([*pair.references, pair.query])) for pair in pairs]

    def write(self, pictures: Sequence[Picture]) -> str:
        """The response to these pictures, references first and the query last, as text."""
        processor, model = self.checkpoint.processor, self.checkpoint.model
        messages = build_messages(len(pictures) - 1)
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        images = [self.checkpoint.fit(picture.image) for picture in pictures]
        inputs = processor(text=[prompt], images=[images], return_tensors="pt").to(model.device)
        ids = model.generate(**inputs, max_new_tokens=RESPONSE_TOKENS, do_sample=False)
        return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
