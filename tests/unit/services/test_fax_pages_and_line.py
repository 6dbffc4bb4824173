"""Fax layout, pages and the modelled line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops
from pydantic import ValidationError

from headway import Reject
from headway.services.fax import FaxConfig, SendFax, line
from headway.services.fax.layout import paginate, wrap
from headway.services.fax.pages import HEIGHT, WIDTH, frames, render

TIFF_COMPRESSION, GROUP_4 = 259, 4
CONFIG = FaxConfig()
words = st.text(st.characters(codec="utf-8", categories=["L", "N", "Zs"]), max_size=200)


def png(width: int, height: int, mode: str = "L", color: int | tuple = 0) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), color).save(file, "PNG")
    return file.getvalue()


def ink(page: Image.Image) -> int:
    return page.convert("L").histogram()[0]


@given(words, st.integers(2, 40))
def test_no_line_is_wider_than_the_page(text, width):
    assert all(len(each) <= width for each in wrap(text, width, len))


@given(words, st.integers(1, 40))
def test_wrapping_loses_no_character_but_spaces(text, width):
    assert "".join("".join(wrap(text, width, len)).split()) == "".join(text.split())


def test_lines_break_at_spaces_and_long_words_are_cut():
    assert wrap("to be or not", 5, len) == ["to be", "or", "not"]
    assert wrap("abcdefgh ij", 3, len) == ["abc", "def", "gh", "ij"]


def test_indented_and_empty_lines_stay():
    assert list(paginate("a\n\n  b", 10, len, 9)) == [["a", "", "  b"]]


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=30), st.integers(1, 7))
def test_pages_hold_all_lines_in_order(lines, per_page):
    pages = list(paginate("\n".join(lines), 10, len, per_page))
    assert [each for page in pages for each in page] == lines
    assert all(len(page) == per_page for page in pages[:-1])


def test_a_form_feed_starts_a_page():
    assert list(paginate("a\fb", 10, len, 9)) == [["a"], ["b"]]


def test_a_text_becomes_group_4_pages_1728_dots_wide():
    document = render("All work and no play. " * 600, [], "Headway", CONFIG)
    with Image.open(io.BytesIO(document.tiff)) as image:
        assert image.n_frames == len(document.sizes) > 1
        for number in range(image.n_frames):
            image.seek(number)
            assert image.tag_v2[TIFF_COMPRESSION] == GROUP_4
            assert (image.mode, image.size) == ("1", (WIDTH, HEIGHT))
            assert image.info["dpi"] == (204, 196)
    assert all(ink(page) > 1000 for page in frames(document.tiff))


def test_a_standard_page_has_half_the_rows():
    document = render("hello", [], "", FaxConfig(resolution="standard"))
    with Image.open(io.BytesIO(document.tiff)) as image:
        assert (image.size, image.info["dpi"]) == ((WIDTH, HEIGHT // 2), (204, 98))
    assert ink(next(iter(frames(document.tiff)))) > 100


def test_on_a_roll_a_page_ends_below_its_text():
    one, two = (next(iter(frames(render(text, [], "", FaxConfig(paper="roll")).tiff))) for text in ("a", "a\nb"))
    assert HEIGHT / 10 < one.height < two.height < HEIGHT / 5
    assert ink(two) > ink(one) > 100


def test_the_banner_stands_on_each_page():
    with_banner, without = (render("a\fa", [], head, CONFIG) for head in ("Somebody", ""))
    for a, b in zip(frames(with_banner.tiff), frames(without.tiff), strict=True):
        difference = ImageChops.difference(a.convert("L"), b.convert("L")).getbbox()
        assert difference is not None
        assert difference[3] <= 72


def test_a_tall_image_goes_over_several_pages_and_keeps_its_shape():
    document = render("", [png(100, 300)], "", CONFIG)
    rows = 300 * WIDTH / 100 * 196 / 204
    assert len(document.sizes) == -(-rows // (HEIGHT - 72)) == 3
    black = sum(ink(page) for page in frames(document.tiff))
    assert black == pytest.approx(WIDTH * rows, rel=0.02)


def test_transparent_parts_of_an_image_are_white():
    (page,) = frames(render("", [png(100, 100, "RGBA", (0, 0, 0, 0))], "", CONFIG).tiff)
    assert ink(page) < 10_000  # the banner alone


def test_grey_becomes_as_many_dots_as_it_is_dark():
    (page,) = frames(render("", [png(100, 100, "L", 191)], "", CONFIG).tiff)
    assert ink(page) == pytest.approx(WIDTH * WIDTH * 196 / 204 / 4, rel=0.05)


def test_text_comes_before_images():
    document = render("hello", [png(10, 10)], "", CONFIG)
    text, image = frames(document.tiff)
    assert ink(text) < ink(image)


@pytest.mark.parametrize("data", [b"", b"no image", png(50, 50)[:60]])
def test_what_is_no_image_is_refused_with_its_number(data):
    with pytest.raises(Reject, match="image 1"):
        render("", [data], "", CONFIG)


def test_an_image_too_narrow_for_its_height_is_refused():
    with pytest.raises(Reject, match="narrow"):
        render("", [png(1, 20_000)], "", CONFIG)


def test_too_many_pages_are_refused():
    with pytest.raises(Reject, match="more than 2 pages"):
        render("a\fb\fc", [], "", FaxConfig(max_pages=2))


@pytest.mark.parametrize("text", ["+49 30 123456", "(030) 12-34-56", "110"])
def test_numbers_are_read_with_their_separators(text):
    assert line.number(text).removeprefix("+").isdigit()


@pytest.mark.parametrize("text", ["", "12", "call me", "+1234567890123456", "0301234x"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(Reject, match="not a telephone number"):
        line.number(text)


@given(st.text(max_size=20), st.integers(1, 9), st.integers(0, 99))
def test_the_same_dial_always_meets_the_same(fax, dial, seed):
    config = FaxConfig(seed=seed)
    assert line.answer(fax, dial, config) is line.answer(fax, dial, config)


def test_shares_of_busy_and_unanswered_dials_are_as_configured():
    config = FaxConfig(busy_share=0.3, no_answer_share=0.2)
    met = [line.answer(f"f{n}", 1, config) for n in range(4000)]
    assert met.count(line.Answer.BUSY) / 4000 == pytest.approx(0.3, abs=0.03)
    assert met.count(line.Answer.NO_ANSWER) / 4000 == pytest.approx(0.2, abs=0.03)


def test_another_dial_or_seed_has_other_luck():
    config = FaxConfig(busy_share=0.5)
    assert len({line.answer("f", dial, config) for dial in range(20)}) > 1
    assert len({line.answer("f", 1, FaxConfig(busy_share=0.5, seed=seed)) for seed in range(20)}) > 1


@given(st.integers(0, 10**6), st.floats(0.1, 10_000))
def test_a_page_takes_longer_the_larger_it_is_and_the_slower_the_line(size, speed):
    assert line.page_seconds(size + 1, FaxConfig(speed=speed)) > line.page_seconds(size, FaxConfig(speed=speed))
    assert line.page_seconds(size, FaxConfig(speed=speed * 2)) < line.page_seconds(size, FaxConfig(speed=speed))


@pytest.mark.parametrize(
    "wrong",
    [
        {"fax": "a.b", "to": "110", "text": "x"},
        {"fax": "a", "to": "110"},
        {"fax": "a", "to": "110", "text": "  "},
        {"fax": "a", "to": "110", "images": [{}]},
        {"fax": "a", "to": "110", "images": [{"data": "eA==", "blob": "x"}]},
        {"fax": "a", "to": "110", "text": "x", "color": "red"},
    ],
)
def test_requests_that_make_no_sense_do_not_validate(wrong):
    with pytest.raises(ValidationError):
        SendFax.model_validate(wrong)
