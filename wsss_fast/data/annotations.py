"""Annotations in the XML of PASCAL VOC, which ILSVRC uses too."""

from __future__ import annotations

from xml.etree import ElementTree

from wsss_fast.files import DataError, PathLike, read_bytes


class _Refuse(ValueError):
    pass


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise _Refuse("a document type declaration")


def read_object_names(path: PathLike) -> list[str]:
    """The names of an annotation's objects, in its order, as often as they come; parts of objects are none.

    The standard parser never fetches external entities, and what else a hostile file can do (entities that
    grow without end) needs declarations in a document type, which such files do not have: a file with one is
    refused where it begins, before its declarations are read. Raises `DataError`.
    """
    kind = "an annotation in plain XML"
    content = read_bytes(path, kind)
    try:
        parser = ElementTree.XMLParser(target=_WithoutDoctype())
        parser.feed(content)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(path, f"expected {kind}, got: {error}") from error
    return [(item.findtext("name") or "").strip() for item in root.findall("object")]
