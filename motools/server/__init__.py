"""A fine-tuning server that speaks OpenAI's API, in front of the local backend.

It trains through the same steps and the same cache as everybody else, so that a
job which somebody has had done is done. What it keeps besides:

::

    .motools/
    ├── cache.db        with tables of the server's own: files, jobs, events, models
    └── server/
        ├── files/      what was uploaded, byte for byte, named by file id
        └── uploads/    what is being uploaded

One server at a time serves a cache. Imported by ``motools serve`` alone.
"""
