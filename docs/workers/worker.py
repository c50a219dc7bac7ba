"""A worker in Python (psycopg 3): takes tokens, one a line, from stdin in place of a queue.

    DATABASE_URL=postgres://… python3 worker.py < tokens
"""
import os
import sys

import psycopg

# autocommit: each wait is a statement of its own, and what is read after it has a newer snapshot.
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
    for line in sys.stdin:
        token = line.strip()
        while True:
            (outcome,) = conn.execute("SELECT pgbarrier.wait(%s, '10 seconds')", (token,)).fetchone()
            if outcome != "pending":
                break
            # A queue's lease is extended here, or the message given back without burning an attempt.
        if outcome == "committed":
            print(token, "do the work, its rows can be read", flush=True)
        elif outcome == "aborted":
            print(token, "drop it, its transaction rolled back", flush=True)
        else:  # expired, wrong database, invalid
            print(token, "to the dead letters:", outcome, flush=True)
