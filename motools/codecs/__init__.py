"""Results of people's own functions as JSON and files, and back, exactly.

Every function returns something, and a result that comes back from the cache
slightly different is worse than none. So there is a short list of types that
round-trip exactly, and everything else is refused by name:

* ``None``, ``bool``, ``int``, ``float`` (NaN and infinities too), ``str``,
  ``list``, ``tuple``, ``dict`` (keys of these scalar types or tuples of them);
* dataclasses and pydantic models whose class can be imported again;
* NumPy arrays (``.npy``, never pickled) and scalars, pandas data frames (Parquet);
* a ``Path``: the file or directory it names is copied in;
* motools' own artifacts.

The form is JSON. What JSON cannot say is an object with one key that starts
with ``@``: ``{"@tuple": [1, 2]}``, ``{"@array": "scores.npy"}``; keys of people's own
that start with ``@`` get another one in front.
"""

from motools.codecs.decoding import decode
from motools.codecs.encoding import encode

__all__ = ["decode", "encode"]
