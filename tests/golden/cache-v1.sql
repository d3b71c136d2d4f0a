BEGIN TRANSACTION;
CREATE TABLE blobs (
	digest VARCHAR NOT NULL, 
	size INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	signature VARCHAR, 
	trashed_at FLOAT, 
	PRIMARY KEY (digest)
);
CREATE TABLE entries (
	"key" VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	action TEXT NOT NULL, 
	value TEXT NOT NULL, 
	tree VARCHAR, 
	files TEXT NOT NULL, 
	remote TEXT, 
	checksum VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	labels TEXT NOT NULL, 
	provenance TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	duration FLOAT NOT NULL, 
	cost FLOAT, 
	trashed_at FLOAT, 
	PRIMARY KEY ("key", generation)
);
INSERT INTO "entries" VALUES('4bc830a27c89c9389d16a3cc8001abf4cd18fcce43b67b214d214aceef8d19b6',1,'function','{"backend":{"name":"test","recipe":1},"config":{"n":"golden"},"inputs":{},"kind":"function","replicate":0,"schema":"motools.action/1"}','{"answer":42,"text":"caf\u00e9"}',NULL,'[]',NULL,'e38492cc79e6bcbb47778f117c4bb73f76f42d01c40d3f748b880c126a38b271','live','{"function":"golden"}','{"host":"golden"}',1.795170785527418375e+09,1.02350004453910514712e-05,NULL,NULL);
CREATE TABLE entry_blobs (
	"key" VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	digest VARCHAR NOT NULL, 
	PRIMARY KEY ("key", generation, digest)
);
CREATE TABLE jobs (
	"key" VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	job_id VARCHAR, 
	provider VARCHAR NOT NULL, 
	sender VARCHAR NOT NULL, 
	domain VARCHAR NOT NULL, 
	intended_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	note VARCHAR NOT NULL, 
	PRIMARY KEY ("key", attempt)
);
CREATE TABLE leases (
	"key" VARCHAR NOT NULL, 
	token INTEGER NOT NULL, 
	holder VARCHAR, 
	domain VARCHAR, 
	acquired_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "leases" VALUES('4bc830a27c89c9389d16a3cc8001abf4cd18fcce43b67b214d214aceef8d19b6',1,NULL,'golden',1.79517078552098131175e+09,1.79517084552098131174e+09);
CREATE TABLE memos (
	namespace VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	signature VARCHAR NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (namespace, subject)
);
CREATE TABLE meta (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema_version','1');
INSERT INTO "meta" VALUES('cache_id','f0182d14aefb4428915f5c5f7da4305a');
CREATE TABLE outbox (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE statistics (
	"key" VARCHAR NOT NULL, 
	hits INTEGER NOT NULL, 
	last_used_at FLOAT NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE INDEX entries_by_time ON entries (created_at);
CREATE INDEX entries_by_kind ON entries (kind, created_at);
CREATE INDEX entry_blobs_by_digest ON entry_blobs (digest);
CREATE INDEX jobs_by_state ON jobs (state);
COMMIT;
