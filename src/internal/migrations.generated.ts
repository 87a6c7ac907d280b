/** Generated from sql/*.sql by `npm run codegen`: do not edit. */
export interface Migration {
  readonly version: number
  readonly title: string
  readonly statements: ReadonlyArray<string>
}

export const sqlite: ReadonlyArray<Migration> = [
  {
    "version": 1,
    "title": "create tables",
    "statements": [
      "CREATE TABLE {prefix}operation (\n  position       INTEGER PRIMARY KEY AUTOINCREMENT,\n  id             TEXT    NOT NULL,\n  kind           TEXT    NOT NULL,\n  lane           TEXT    NOT NULL,\n  strategy       TEXT    NOT NULL DEFAULT 'DbAndTrustlog',\n  occurred_at    TEXT    NOT NULL,\n  recorded_at    TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),\n  actor          TEXT    NOT NULL,\n  action         TEXT    NOT NULL,\n  target         TEXT    NOT NULL,\n  source         TEXT,\n  payload        TEXT,\n  payload_bytes  INTEGER NOT NULL DEFAULT 0,\n  request_hash   TEXT,\n  response_hash  TEXT,\n  client_ip      TEXT,\n  server_ip      TEXT,\n  traceparent    TEXT,\n  content_hash   TEXT\n)",
      "CREATE UNIQUE INDEX {prefix}operation_id ON {prefix}operation (id)",
      "CREATE TABLE {prefix}trustlog_pending (\n  lane           TEXT    NOT NULL,\n  position       INTEGER NOT NULL,\n  PRIMARY KEY (lane, position)\n) WITHOUT ROWID",
      "CREATE TABLE {prefix}trustlog_cursor (\n  name           TEXT    NOT NULL PRIMARY KEY,\n  value          TEXT,\n  position       INTEGER,\n  epoch          INTEGER,\n  owner          TEXT,\n  lease_until    TEXT,\n  delivered      INTEGER,\n  late           INTEGER,\n  breaker        TEXT,\n  breaker_since  TEXT,\n  paused         INTEGER,\n  in_flight      INTEGER,\n  losses         INTEGER,\n  updated_at     TEXT    NOT NULL\n) WITHOUT ROWID",
      "INSERT INTO {prefix}trustlog_cursor (name, value, updated_at)\nVALUES ('schema', '1', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))",
      "CREATE TABLE {prefix}trustlog_retry (\n  position         INTEGER PRIMARY KEY,\n  lane             TEXT    NOT NULL,\n  state            TEXT    NOT NULL,\n  attempts         INTEGER NOT NULL,\n  next_attempt_at  TEXT,\n  claim_token      TEXT,\n  claim_until      TEXT,\n  reason           TEXT    NOT NULL,\n  error            TEXT    NOT NULL,\n  first_failed_at  TEXT    NOT NULL,\n  last_failed_at   TEXT    NOT NULL\n)",
      "CREATE INDEX {prefix}trustlog_retry_due ON {prefix}trustlog_retry (state, next_attempt_at)",
      "CREATE TABLE {prefix}trustlog_receipt (\n  lane             TEXT    NOT NULL,\n  sequence         INTEGER NOT NULL,\n  previous         TEXT    NOT NULL,\n  first_position   INTEGER NOT NULL,\n  last_position    INTEGER NOT NULL,\n  count            INTEGER NOT NULL,\n  topic            TEXT    NOT NULL,\n  root             TEXT    NOT NULL,\n  leaves           BLOB    NOT NULL,\n  ledger_size      INTEGER,\n  ledger_root      TEXT,\n  delivered_at     TEXT    NOT NULL,\n  purged_at        TEXT,\n  purge_signature  TEXT,\n  PRIMARY KEY (lane, sequence)\n)",
      "CREATE TABLE {prefix}trustlog_promotion (\n  position     INTEGER PRIMARY KEY,\n  promoted_at  TEXT NOT NULL\n)",
      "CREATE VIEW {prefix}trustlog_status AS\nSELECT\n  o.position,\n  o.id,\n  o.kind,\n  o.lane,\n  o.actor,\n  o.action,\n  o.target,\n  o.occurred_at,\n  o.recorded_at,\n  CASE\n    WHEN r.state = 'dead' THEN 'dead'\n    WHEN r.state = 'waiting' THEN 'retrying'\n    WHEN p.position IS NOT NULL THEN 'pending'\n    WHEN o.strategy = 'DbOnly' AND m.position IS NULL THEN 'db_only'\n    ELSE 'delivered'\n  END AS status,\n  r.attempts,\n  r.next_attempt_at,\n  r.reason,\n  r.error\nFROM {prefix}operation o\nLEFT JOIN {prefix}trustlog_pending p ON p.position = o.position AND p.lane = o.lane\nLEFT JOIN {prefix}trustlog_retry r ON r.position = o.position\nLEFT JOIN {prefix}trustlog_promotion m ON m.position = o.position"
    ]
  }
]
