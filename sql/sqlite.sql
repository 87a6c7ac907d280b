-- trustlog's tables on SQLite (3.40 or newer). This file is the source of the migrations: `npm run codegen`
-- turns it into src/internal/migrations.generated.ts, and the program runs exactly what stands here.
-- Sections only ever grow: a released section is never edited, a change is a new section at the end.
-- {prefix} is the configured table prefix (empty by default); remove it to load this file by hand.
-- What each table is for: sql/README.md.
-- Times are UTC text of fixed width, so that they sort as text: 2026-11-23T14:50:42.123456Z

-- migration: 1 create tables

CREATE TABLE {prefix}operation (
  position       INTEGER PRIMARY KEY AUTOINCREMENT,
  id             TEXT    NOT NULL,
  kind           TEXT    NOT NULL,
  lane           TEXT    NOT NULL,
  strategy       TEXT    NOT NULL DEFAULT 'DbAndTrustlog',
  occurred_at    TEXT    NOT NULL,
  recorded_at    TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  actor          TEXT    NOT NULL,
  action         TEXT    NOT NULL,
  target         TEXT    NOT NULL,
  source         TEXT,
  payload        TEXT,
  payload_bytes  INTEGER NOT NULL DEFAULT 0,
  request_hash   TEXT,
  response_hash  TEXT,
  client_ip      TEXT,
  server_ip      TEXT,
  traceparent    TEXT,
  content_hash   TEXT
);

CREATE UNIQUE INDEX {prefix}operation_id ON {prefix}operation (id);

CREATE TABLE {prefix}trustlog_pending (
  lane           TEXT    NOT NULL,
  position       INTEGER NOT NULL,
  PRIMARY KEY (lane, position)
) WITHOUT ROWID;

CREATE TABLE {prefix}trustlog_cursor (
  name           TEXT    NOT NULL PRIMARY KEY,
  value          TEXT,
  position       INTEGER,
  epoch          INTEGER,
  owner          TEXT,
  lease_until    TEXT,
  delivered      INTEGER,
  late           INTEGER,
  breaker        TEXT,
  breaker_since  TEXT,
  paused         INTEGER,
  in_flight      INTEGER,
  losses         INTEGER,
  updated_at     TEXT    NOT NULL
) WITHOUT ROWID;

-- How far this file has been applied; every later section sets it to its own number.
INSERT INTO {prefix}trustlog_cursor (name, value, updated_at)
VALUES ('schema', '1', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'));

CREATE TABLE {prefix}trustlog_retry (
  position         INTEGER PRIMARY KEY,
  lane             TEXT    NOT NULL,
  state            TEXT    NOT NULL,
  attempts         INTEGER NOT NULL,
  next_attempt_at  TEXT,
  claim_token      TEXT,
  claim_until      TEXT,
  reason           TEXT    NOT NULL,
  error            TEXT    NOT NULL,
  first_failed_at  TEXT    NOT NULL,
  last_failed_at   TEXT    NOT NULL
);

CREATE INDEX {prefix}trustlog_retry_due ON {prefix}trustlog_retry (state, next_attempt_at, position);

CREATE TABLE {prefix}trustlog_receipt (
  lane             TEXT    NOT NULL,
  sequence         INTEGER NOT NULL,
  previous         TEXT    NOT NULL,
  first_position   INTEGER NOT NULL,
  last_position    INTEGER NOT NULL,
  count            INTEGER NOT NULL,
  topic            TEXT    NOT NULL,
  root             TEXT    NOT NULL,
  leaves           BLOB    NOT NULL,
  ledger_size      INTEGER,
  ledger_root      TEXT,
  delivered_at     TEXT    NOT NULL,
  purged_at        TEXT,
  purge_signature  TEXT,
  PRIMARY KEY (lane, sequence)
);

CREATE TABLE {prefix}trustlog_promotion (
  position     INTEGER PRIMARY KEY,
  promoted_at  TEXT NOT NULL
);

CREATE VIEW {prefix}trustlog_status AS
SELECT
  o.position,
  o.id,
  o.kind,
  o.lane,
  o.actor,
  o.action,
  o.target,
  o.occurred_at,
  o.recorded_at,
  CASE
    WHEN r.state = 'dead' THEN 'dead'
    WHEN r.state = 'waiting' THEN 'retrying'
    WHEN p.position IS NOT NULL THEN 'pending'
    WHEN o.strategy = 'DbOnly' AND m.position IS NULL THEN 'db_only'
    ELSE 'delivered'
  END AS status,
  r.attempts,
  r.next_attempt_at,
  r.reason,
  r.error
FROM {prefix}operation o
LEFT JOIN {prefix}trustlog_pending p ON p.position = o.position AND p.lane = o.lane
LEFT JOIN {prefix}trustlog_retry r ON r.position = o.position
LEFT JOIN {prefix}trustlog_promotion m ON m.position = o.position;
