"""Drawn pictures: coloured discs on a grey ground, and two coloured halves."""

from PIL import Image, ImageDraw

from lad_reasoner.files.pictures import Picture, read_picture


def scene(*discs: tuple[int, int, tuple[int, int, int]], size: tuple[int, int] = (384, 384)) -> Picture:
    """A grey ground with a fixed frame and coloured discs at the given places."""
    image = Image.new("RGB", size, (150, 150, 150))
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, size[0] - 20, size[1] - 20), outline=(20, 20, 20), width=8)
    draw.line((20, 60, 140, 20), fill=(20, 20, 20), width=8)
    for x, y, colour in discs:
        draw.ellipse((x - 30, y - 30, x + 30, y + 30), fill=colour, outline=(0, 0, 0), width=4)
    return read_picture(image)


def halves(size: tuple[int, int] = (128, 96)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (200, 40, 40))
    image.paste((30, 60, 220), (size[0] // 2, 0, *size))
    return image


RED, BLUE = (200, 30, 30), (30, 30, 200)

BOTH = ((110, 200, RED), (280, 200, BLUE))
