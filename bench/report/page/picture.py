"""Plots as part of a page: SVG without styles, whose ids are its own."""

import re
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"#([\w-]+)")
#: The shorthand of a font, as matplotlib writes it: style, weight, size and families.
_FONT = re.compile(r"(?:(?P<style>italic|oblique) )?(?:(?P<weight>\w+) )?(?P<size>[\d.]+px) .*")
#: Attributes whose numbers are places and lengths.
_PLACES = ("d", "x", "y", "width", "height", "transform", "cx", "cy", "r", "points")


def inline(svg: bytes, name: str, alt: str) -> str:
    """Return a plot of matplotlib's as an element of a page, with a text that stands for it.

    The page forbids styles in attributes, so they become attributes of their own. Its ids begin
    with `name`, as a page holds many plots. A place is rounded to a tenth of a point.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)  # written by matplotlib just now
    used = {
        found
        for element in root.iter()
        for value in element.attrib.values()
        if "#" in value
        for found in _REFERENCE.findall(value)
    }
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _plain(element, name, used)
    _flatten(root)
    width, height = (
        float(root.attrib.pop(side).removesuffix("pt")) for side in ("width", "height")
    )
    root.attrib |= {
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width * 4 / 3:.0f}",
        "height": f"{height * 4 / 3:.0f}",
        "role": "img",
        "aria-label": alt,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _flatten(parent: ElementTree.Element) -> None:
    """Put what a group holds in its place, if the group says nothing, and leave out blank lines."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _flatten(child)
        child.tail = None
        children += list(child) if child.tag == f"{{{_SVG}}}g" and not child.attrib else [child]
    parent[:] = children
    if not (parent.text or "").strip():
        parent.text = None


def _plain(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Turn the style of an element into attributes, and keep an id only if something uses it."""
    given = element.attrib
    for key, value in _declarations(given.pop("style", "")):
        if key == "font":
            given |= _font(value)
        elif key != "font-family":  # the page's
            given[key] = value
    if given.get("id") in used:
        given["id"] = f"{name}-{given['id']}"
    else:
        given.pop("id", None)
    if (link := given.pop(f"{{{_XLINK}}}href", None)) is not None:
        given["href"] = link
    for key, value in given.items():
        if "#" in value and (key == "href" or value.startswith("url(")):
            given[key] = _REFERENCE.sub(rf"#{name}-\1", value)
        elif key in _PLACES:
            given[key] = " ".join(_NUMBER.sub(_short, value.replace("-0 ", "0 ")).split())
    if given.get("transform", "").startswith("rotate(0 "):
        del given["transform"]
    given.pop("version", None)


def _declarations(style: str) -> list[tuple[str, str]]:
    parts = (part.partition(":") for part in style.split(";"))
    return [(key.strip(), value.strip()) for key, _, value in parts if value]


def _font(value: str) -> dict[str, str]:
    """Return the size, and weight and style where there are any. The family is the page's."""
    found = _FONT.fullmatch(value)
    return {f"font-{k}": part for k, part in found.groupdict().items() if part} if found else {}


def _short(found: re.Match[str]) -> str:
    return f"{round(float(found[0]), 1) + 0.0:g}"  # and no −0
