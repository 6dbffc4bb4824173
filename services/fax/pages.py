"""Render fax pages: 1728 dots wide, black and white, Group 4 TIFF. This needs CPU: run it in a thread.

The dimensions are those of T.4: a line of 1728 dots is 215 mm wide, with 204 dots per inch; there are 196 lines per
inch in fine and 98 in standard resolution. A page is as long as A4, or on a roll of paper as its text.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps, TiffImagePlugin, UnidentifiedImageError

from headway import Reject

from .layout import paginate
from .models import FaxConfig

WIDTH: Final = 1728
DPI_ACROSS: Final = 204
DPI_DOWN: Final = {"fine": 196, "standard": 98}
HEIGHT: Final = 2292
"""Rows of a fine A4 page: 297 mm at 196 per inch."""

_MARGIN = 96
_HEAD = 72
_HEAD_FONT = 28
_LEADING = 1.3
_MAX_PIXELS = 50_000_000
_WHITE = 255


@dataclass(frozen=True, slots=True)
class Document:
    """Rendered pages.

    Attributes:
        tiff: all pages in one file.
        sizes: bytes that each page takes on the line.
    """

    tiff: bytes
    sizes: list[int]


def render(text: str, images: Sequence[bytes], head: str, config: FaxConfig) -> Document:
    """Render text, followed by images, into fax pages.

    Args:
        text: the text, possibly empty.
        images: images in any format that Pillow reads.
        head: text at the top of each page, before its number.
        config: resolution, paper, font size and the limit of pages.

    Raises:
        Reject: if an image cannot be read or is too large, or there are too many pages.
    """
    texts = _text_pages(text, config) if text.strip() else iter(())
    pictures = chain.from_iterable(_picture_pages(data, number) for number, data in enumerate(images, 1))
    file = io.BytesIO()
    sizes: list[int] = []
    down = DPI_DOWN[config.resolution]
    # Page by page: a page of dots takes 4 MB, so a whole long document would be too large.
    with TiffImagePlugin.AppendingTiffWriter(file) as writer:
        for page in chain(texts, pictures):
            if len(sizes) == config.max_pages:
                raise Reject(f"the document has more than {config.max_pages} pages", remedy="send it in parts")
            _banner(page, f"{head}   p. {len(sizes) + 1}")
            encoded = _group4(page, down)
            sizes.append(len(encoded))
            writer.write(encoded)
            writer.newFrame()
    return Document(file.getvalue(), sizes)


def _group4(page: Image.Image, down: int) -> bytes:
    if down != DPI_DOWN["fine"]:
        # Two rows are merged into one that is black where either was, so that thin strokes survive.
        rows = page.height * down // DPI_DOWN["fine"]
        page = page.convert("L").reduce((1, page.height // rows)).point(lambda v: _WHITE * (v == _WHITE), mode="1")
    file = io.BytesIO()
    page.save(file, format="TIFF", compression="group4", dpi=(DPI_ACROSS, down))
    return file.getvalue()


def _text_pages(text: str, config: FaxConfig) -> Iterator[Image.Image]:
    font = _font(config.font_size)
    pitch = round(config.font_size * _LEADING)
    per_page = (HEIGHT - _HEAD - 2 * _MARGIN) // pitch
    for lines in paginate(text, WIDTH - 2 * _MARGIN, font.getlength, per_page):
        page = _blank(_HEAD + 2 * _MARGIN + len(lines) * pitch if config.paper == "roll" else HEIGHT)
        draw = ImageDraw.Draw(page)
        draw.fontmode = "1"
        for number, line in enumerate(lines):
            draw.text((_MARGIN, _HEAD + _MARGIN + number * pitch), line, fill=0, font=font)
        yield page


def _picture_pages(data: bytes, number: int) -> Iterator[Image.Image]:
    """Scale an image to the width of the line and cut it into pages."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise Reject(f"image {number} has {image.width} x {image.height} dots, more than {_MAX_PIXELS}")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Reject(f"image {number} cannot be read: {error}", remedy="send a PNG, JPEG or TIFF") from error
    paper = Image.new("RGBA", upright.size, "white")
    paper.alpha_composite(upright)
    rows = max(1, round(upright.height * WIDTH / upright.width * DPI_DOWN["fine"] / DPI_ACROSS))
    if rows > _MAX_PIXELS // WIDTH:
        raise Reject(f"image {number} is too narrow for its height", remedy="cut it into parts")
    dots = paper.convert("L").resize((WIDTH, rows)).convert("1")  # to black and white by Floyd-Steinberg dithering
    room = HEIGHT - _HEAD
    for top in range(0, rows, room):
        page = _blank()
        page.paste(dots.crop((0, top, WIDTH, min(top + room, rows))), (0, _HEAD))
        yield page


def _banner(page: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(page)
    draw.fontmode = "1"
    draw.text((_MARGIN, (_HEAD - _HEAD_FONT) // 2), text, fill=0, font=_font(_HEAD_FONT))
    draw.line((_MARGIN, _HEAD - 4, WIDTH - _MARGIN, _HEAD - 4), fill=0, width=2)


def _blank(height: int = HEIGHT) -> Image.Image:
    return Image.new("1", (WIDTH, height), 1)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def frames(tiff: bytes) -> Iterable[Image.Image]:
    """Return the pages of a TIFF file."""
    with Image.open(io.BytesIO(tiff)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            yield image.copy()
