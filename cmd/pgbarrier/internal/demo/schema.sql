CREATE SCHEMA pgbarrier_demo;
COMMENT ON SCHEMA pgbarrier_demo IS 'pgbarrier demo: may be dropped when no demo is running';
SET LOCAL search_path = pgbarrier_demo;

-- The load. The same requests come in at each approach.
CREATE TABLE requests (
	id       integer PRIMARY KEY,
	declined boolean NOT NULL,          -- the transaction rolls back
	pause    double precision NOT NULL  -- ms of other work between the enqueue and COMMIT, or COMMIT and the enqueue
);

-- What the orders service writes in its transactions.
CREATE TABLE orders (
	approach text,
	request  integer REFERENCES requests,
	barrier  uuid, -- the id of the pgbarrier.barrier of the same transaction
	PRIMARY KEY (approach, request)
);

-- When COMMIT returned to the producer; without those that were killed before they could tell.
CREATE TABLE commits (
	approach text,
	request  integer,
	returned timestamptz NOT NULL,
	PRIMARY KEY (approach, request)
);

-- What the worker did with a message: it ran, and found the order or did not,
CREATE TABLE runs (
	approach text,
	request  integer,
	began    timestamptz NOT NULL,
	found    boolean NOT NULL
);
CREATE INDEX ON runs (approach, request);

-- or it dropped the message because of what the wait ended with.
CREATE TABLE drops (
	approach text,
	barrier  uuid,
	reason   text NOT NULL
);
CREATE INDEX ON drops (approach, barrier);

-- What was killed.
CREATE TABLE incidents (
	approach text,
	what     text NOT NULL CHECK (what IN ('producer', 'LISTEN connection')),
	at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
