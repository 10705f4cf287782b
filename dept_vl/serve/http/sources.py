"""Where a row's picture comes from: the request itself, one of its uploads, or a file below the image root."""

import base64
import binascii
from collections.abc import Mapping

from dept_vl.serve.http.errors import Refused
from dept_vl.serve.http.limits import Access, Limits
from dept_vl.serve.http.schemas import Below, Uploaded
from dept_vl.untrusted.images import UnreadableImage, check_image
from dept_vl.untrusted.paths import read_below


class Sources:
    """The pictures of one request. parts: its uploads by name."""

    def __init__(self, limits: Limits, access: Access, parts: Mapping[str, bytes]) -> None:
        self.limits, self.access, self.parts = limits, access, parts
        self._used: set[str] = set()

    def read(self, place: int, image: str | Uploaded | Below | None) -> bytes | None:
        """The bytes of the picture in the row at `place`. Raises: Refused, UnreadableImage."""
        match image:
            case None:
                return None
            case str():
                data = decode(place, image)
            case Uploaded(upload=name):
                if name not in self.parts:
                    raise Refused(422, f"row {place}: wanted a part of the form called {name!r}, given a form without")
                self._used.add(name)
                data = self.parts[name]
            case Below(path=name):
                if self.access.image_root is None:
                    raise Refused(403, "a picture's path: wanted a server that has an --image-root, given one without")
                data = read_below(self.access.image_root, name, self.limits.body)
        try:
            check_image(data, self.limits.pixels)
        except UnreadableImage as error:
            raise UnreadableImage(error.path, error.reason, place) from error
        return data

    def check_used(self) -> None:
        """Raises: Refused where an upload stands in no row."""
        if left := sorted(set(self.parts) - self._used):
            raise Refused(422, f"the form's part {left[0]!r:.200}: wanted a row that names it, given none")


def decode(place: int, text: str) -> bytes:
    """The bytes of base64, or of a data: URL of it. Raises: Refused; nothing is ever fetched."""
    head, comma, body = text.partition(",")
    if comma and head[:5].lower() == "data:":
        if not head.lower().endswith(";base64"):
            raise Refused(422, f"row {place}: wanted a data: URL in base64, given {head!r:.60}")
        text = body
    elif "://" in text[:20]:
        raise Refused(422, f"row {place}: wanted the picture itself as a data: URL, given an address: none is read")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, f"row {place}: wanted a picture's bytes in base64, given other text ({error})") from error
