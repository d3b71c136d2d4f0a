"""S3, as far as motools needs it: objects in one bucket, and uploads in parts.

Knows nothing of caches. It is a client of its own because none that is maintained
has all of: connections that survive a fork, uploads that go on where they stopped,
and an import that costs a command nothing (docs/design.md has the figures). AWS's
library is asked who one is where that takes more than reading a variable or a file.
"""

from __future__ import annotations

from motools.s3.bucket import Bucket, Item
from motools.s3.connections import S3Error
from motools.s3.multipart import Upload
from motools.s3.place import Place, find

__all__ = ["Bucket", "Item", "Place", "S3Error", "Upload", "find"]
