"""Small pictures of items, each made once."""

import contextlib
import hashlib
from pathlib import Path

from dsh_jax.data.images.decoding import as_jpeg, open_image, read_content, try_to_decode
from dsh_jax.files import replacing
from dsh_jax.search.items import Item
from dsh_jax.search.server.limits import Refused

_SIDE = 192


class Thumbnails:
    """JPEG files in a folder, named by the hash of what the index says of an item.

    Args:
      folder: made when the first is written; it may be removed at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tag(self, item: Item) -> str:
        """A name that changes when the item's image does."""
        return hashlib.sha256(f"{_SIDE}\0{item.path}\0{item.stamp}".encode()).hexdigest()

    def jpeg(self, item: Item) -> bytes:
        """The picture of an item.

        Raises:
          Refused: it has no image, or the image cannot be read any more.
        """
        if not item.path:
            raise Refused(404, f"{item.id!r} is no image: there is no picture of it.")
        tag = self.tag(item)
        place = self._folder / tag[:2] / f"{tag}.jpg"
        with contextlib.suppress(OSError):
            return place.read_bytes()
        made = _make(item)
        with contextlib.suppress(OSError), replacing(place) as beside:  # else it is made again
            beside.write_bytes(made)
        return made


def _make(item: Item) -> bytes:
    content = read_content(Path(item.path))
    if isinstance(content, bytes):
        with contextlib.suppress(Exception):  # what `try_to_decode` explains
            side = min(_SIDE, *open_image(content).size)  # never larger than the image
            found = try_to_decode(content, (side, side))
            if not isinstance(found, str):
                return as_jpeg(found, 90)
        found = try_to_decode(content, (_SIDE, _SIDE))
        content = found if isinstance(found, str) else "it cannot be drawn"
    raise Refused(404, f"the image of {item.id!r} cannot be shown: {content}; index it again.")
