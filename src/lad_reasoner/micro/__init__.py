"""micro: the built-in Qwen2.5-VL of a few million parameters, and how it is made from random weights.

build.py        the model, its tokenizer, its Hugging Face folder
training.py     the run: pool, vision, language, both; resumes where it stopped
pool.py         pictures of training products and free scenes, drawn once
perception.py   what each picture token shows: lessons for the vision tower
vision.py       stage one, the vision tower
lessons.py      questions and answers about one picture, and about two
language.py     stage two, the language part
joint.py        stage three, both together, on a GPU
trust.py        the last stage, how far to trust its own reasoning
"""
