"""A contact sheet: small pictures of many images with captions."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ppcls_lite.data.image_file import load_image
from ppcls_lite.utils.text import escape

TILE, LINE, MARGIN, COLUMNS = 160, 18, 8, 6  # pixels; images in a row
MOST = 300  # images of a sheet


def draw_contact_sheet(images: Sequence[tuple[Path, str]], file: Path) -> None:
    """Write a PNG of the images, each cut to a square, with its caption and file name; at most ``MOST`` of them.

    Args:
        images: (image file, caption) each.
    """
    shown = images[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    cell = (TILE + MARGIN, TILE + 2 * LINE + MARGIN)
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (path, caption) in enumerate(shown):
        x, y = MARGIN + i % columns * cell[0], MARGIN + i // columns * cell[1]
        sheet.paste(Image.fromarray(load_image(path, 3, TILE).transpose(1, 2, 0)), (x, y))
        for line, (text, color) in enumerate(((caption, "black"), (path.name, "gray"))):
            draw.text((x, y + TILE + line * LINE + 2), _fit(escape(text), font), color, font)
    sheet.save(file, format="PNG")


def _fit(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text, cut so that it is no wider than a tile."""
    if font.getlength(text) <= TILE:
        return text
    while text and font.getlength(f"{text}...") > TILE:
        text = text[:-1]
    return f"{text}..."
