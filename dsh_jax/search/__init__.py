"""Search: an index of codes that is opened by its URI, and answers with items.

    from dsh_jax.search.index import open_index

    with open_index("runs/mine.index") as index:
        [hits] = index.search(encoder.encode("a.png"), top=10)

`index` is the face of every engine; `faiss_engine` and `milvus_engine` are the engines; `building`
fills an index from a folder, a file or parts; `command` is `search.py`, and `server` its page
and API.
"""
