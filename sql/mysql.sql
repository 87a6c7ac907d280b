-- trustlog's tables on MySQL (8.0.19 or newer) and MariaDB (10.6 or newer). This file is the source of the migrations:
-- `npm run codegen` turns it into src/internal/migrations.generated.ts, and the program runs exactly what stands here.
-- Sections only ever grow: a released section is never edited, a change is a new section at the end.
-- {schema} is the configured schema (a database here), quoted and with its dot (`audit`.), and empty by default;
-- {prefix} is the configured table prefix, empty by default. Remove both to load this file by hand.
-- What each table is for: sql/README.md.
-- Times are in UTC. DDL commits by itself here, so every statement can be run again after one that failed, and the
-- table that says how far this file has been applied comes first, its row `schema` last.

-- migration: 1 create tables

CREATE TABLE IF NOT EXISTS {schema}`{prefix}trustlog_cursor` (
  name           VARCHAR(128)  NOT NULL PRIMARY KEY,
  value          VARCHAR(255),
  position       BIGINT,
  epoch          BIGINT,
  owner          VARCHAR(64),
  lease_until    DATETIME(6),
  delivered      BIGINT,
  late           BIGINT,
  breaker        VARCHAR(16),
  breaker_since  DATETIME(6),
  paused         SMALLINT,
  in_flight      BIGINT,
  losses         INT,
  updated_at     DATETIME(6)   NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS {schema}`{prefix}operation` (
  position       BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
  id             BINARY(16)    NOT NULL,
  kind           VARCHAR(16)   NOT NULL,
  lane           VARCHAR(80)   NOT NULL,
  strategy       VARCHAR(16)   NOT NULL DEFAULT 'DbAndTrustlog',
  occurred_at    DATETIME(6)   NOT NULL,
  recorded_at    DATETIME(6)   NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  actor          VARCHAR(2048) NOT NULL,
  action         VARCHAR(2048) NOT NULL,
  target         VARCHAR(2048) NOT NULL,
  source         VARCHAR(2048),
  payload        LONGTEXT,
  payload_bytes  INT           NOT NULL DEFAULT 0,
  request_hash   CHAR(64)      CHARACTER SET ascii COLLATE ascii_bin,
  response_hash  CHAR(64)      CHARACTER SET ascii COLLATE ascii_bin,
  client_ip      VARCHAR(45)   CHARACTER SET ascii COLLATE ascii_bin,
  server_ip      VARCHAR(45)   CHARACTER SET ascii COLLATE ascii_bin,
  traceparent    VARCHAR(55)   CHARACTER SET ascii COLLATE ascii_bin,
  content_hash   CHAR(64)      CHARACTER SET ascii COLLATE ascii_bin,
  UNIQUE KEY `{prefix}operation_id` (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin ROW_FORMAT = DYNAMIC;

CREATE TABLE IF NOT EXISTS {schema}`{prefix}trustlog_pending` (
  lane           VARCHAR(80)   NOT NULL,
  position       BIGINT        NOT NULL,
  PRIMARY KEY (lane, position)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS {schema}`{prefix}trustlog_retry` (
  position         BIGINT      NOT NULL PRIMARY KEY,
  lane             VARCHAR(80) NOT NULL,
  state            VARCHAR(16) NOT NULL,
  attempts         INT         NOT NULL,
  next_attempt_at  DATETIME(6),
  claim_token      VARCHAR(64),
  claim_until      DATETIME(6),
  reason           VARCHAR(32) NOT NULL,
  error            TEXT        NOT NULL,
  first_failed_at  DATETIME(6) NOT NULL,
  last_failed_at   DATETIME(6) NOT NULL,
  KEY `{prefix}trustlog_retry_due` (state, next_attempt_at, position)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS {schema}`{prefix}trustlog_receipt` (
  lane             VARCHAR(80)  NOT NULL,
  sequence         BIGINT       NOT NULL,
  previous         CHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_position   BIGINT       NOT NULL,
  last_position    BIGINT       NOT NULL,
  count            INT          NOT NULL,
  topic            VARCHAR(255) NOT NULL,
  root             CHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  leaves           MEDIUMBLOB   NOT NULL,
  ledger_size      BIGINT,
  ledger_root      CHAR(64)     CHARACTER SET ascii COLLATE ascii_bin,
  delivered_at     DATETIME(6)  NOT NULL,
  purged_at        DATETIME(6),
  purge_signature  VARCHAR(255),
  PRIMARY KEY (lane, sequence)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS {schema}`{prefix}trustlog_promotion` (
  position     BIGINT      NOT NULL PRIMARY KEY,
  promoted_at  DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW {schema}`{prefix}trustlog_status` AS
SELECT
  o.position,
  LOWER(INSERT(INSERT(INSERT(INSERT(HEX(o.id), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')) AS id,
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
FROM {schema}`{prefix}operation` o
LEFT JOIN {schema}`{prefix}trustlog_pending` p ON p.position = o.position AND p.lane = o.lane
LEFT JOIN {schema}`{prefix}trustlog_retry` r ON r.position = o.position
LEFT JOIN {schema}`{prefix}trustlog_promotion` m ON m.position = o.position;

-- How far this file has been applied; every later section sets it to its own number.
INSERT INTO {schema}`{prefix}trustlog_cursor` (name, value, updated_at) VALUES ('schema', '1', UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE value = value;
