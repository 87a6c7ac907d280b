-- Generated from test_data.sql by `npm run codegen`: do not edit. The same rows for MySQL and MariaDB.

-- Sample rows, as an application writes them that has no trustlog library: plain SQL, in one transaction.
-- Load it after the schema (sql/README.md says how); `trustlog drain` then delivers what is pending.
--
-- Such rows leave content_hash NULL: the program computes it at delivery, and the receipt is the reference from then on.
-- position and recorded_at are the database's own. Times are UTC text, payloads JSON text.

BEGIN;

INSERT INTO operation
  (id, kind, lane, strategy, occurred_at, actor, action, target, source, payload, client_ip, server_ip)
VALUES
  (UNHEX(REPLACE('01a1e0a0-0001-7000-8000-000000000001', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 07:58:03.000000',
   'a.okafor', 'session.login', 'core-banking', 'sso',
   '{"method":"passkey"}', '192.0.2.10', '198.51.100.20'),
  (UNHEX(REPLACE('01a1e0a0-0002-7000-8000-000000000002', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 08:02:41.120000',
   'a.okafor', 'transfer.create', 'transfer/2026-0000118', 'core-banking',
   '{"amount":"1250.50","creditor":"FR7630006000011234567890189","currency":"EUR"}', '192.0.2.10', '198.51.100.20'),
  (UNHEX(REPLACE('01a1e0a0-0003-7000-8000-000000000003', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 08:19:10.456789',
   'm.dubois', 'transfer.approve', 'transfer/2026-0000118', 'core-banking',
   '{"approvals":["a.okafor","m.dubois"],"fourEyes":true}', '2001:db8:10::a3', '198.51.100.20'),
  (UNHEX(REPLACE('01a1e0a0-0004-7000-8000-000000000004', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 08:19:11.000000',
   'service:settlement', 'transfer.execute', 'transfer/2026-0000118', 'core-banking',
   '{"network":"SEPA"}', NULL, NULL),
  (UNHEX(REPLACE('01a1e0a0-0005-7000-8000-000000000005', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 09:00:00.000000',
   'Дмитрий Петров', 'policy.change', 'policy/storage-access', 'cloud-console',
   '{"after":{"effect":"allow","version":8},"before":{"effect":"deny","version":7}}', '2001:db8:10::b7', NULL),
  (UNHEX(REPLACE('01a1e0a0-0006-7000-8000-000000000006', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 09:30:00.000000',
   '佐藤 由紀', 'export.request', 'export/000042', 'warehouse',
   '["id","country","created at"]', '192.0.2.37', NULL),
  (UNHEX(REPLACE('01a1e0a0-0007-7000-8000-000000000007', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 09:41:00.000000',
   'unknown', 'session.refuse', 'core-banking', 'sso',
   NULL, '::ffff:203.0.113.77', '198.51.100.20'),
  (UNHEX(REPLACE('01a1e0a0-0008-7000-8000-000000000008', '-', '')), 'operation', 'operation', 'DbAndTrustlog', '2026-11-16 10:00:00.000000',
   'dr.haddad', 'chart.read', 'patient/10428813/chart', NULL,
   '{"name":"د. ليلى حداد","sections":["allergies","medication"]}', NULL, NULL);

-- A lane of its own, named by the application: delivered independently of the others.
INSERT INTO operation
  (id, kind, lane, strategy, occurred_at, actor, action, target, source, payload, client_ip, server_ip)
VALUES
  (UNHEX(REPLACE('01a1e0a0-0009-7000-8000-000000000009', '-', '')), 'operation', 'operation/payroll', 'DbAndTrustlog',
   '2026-11-16 10:15:00.000000', 'z.nowak', 'salary.change', 'employee/4711', 'payroll',
   '{"from":"2026-12-01","grade":"E13"}', '192.0.2.11', NULL),
  (UNHEX(REPLACE('01a1e0a0-0010-7000-8000-000000000010', '-', '')), 'operation', 'operation/payroll', 'DbAndTrustlog',
   '2026-11-16 10:16:00.000000', 'k.papadakis', 'salary.approve', 'employee/4711', 'payroll',
   'true', '192.0.2.11', NULL);

-- Records: something that was kept. The hash is that of the document, which is kept elsewhere.
INSERT INTO operation
  (id, kind, lane, strategy, occurred_at, actor, action, target, source, payload, request_hash, response_hash, traceparent)
VALUES
  (UNHEX(REPLACE('01a1e0a0-0011-7000-8000-000000000011', '-', '')), 'record', 'record', 'DbAndTrustlog', '2026-11-16 11:00:00.000000',
   'service:statements', 'statement.keep', 'account/DE89370400440532013000/statement/2026-10', 'document-store',
   '{"bytes":48213,"mediaType":"application/pdf","retentionYears":10}',
   NULL, '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', NULL),
  (UNHEX(REPLACE('01a1e0a0-0012-7000-8000-000000000012', '-', '')), 'record', 'record', 'DbAndTrustlog', '2026-11-16 11:05:00.000000',
   'service:laboratory', 'report.keep', 'patient/10428813/report/000917', 'laboratory',
   '{"results":[{"code":"718-7","unit":"g/dL","value":13.2}]}',
   '60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752', NULL,
   '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
  (UNHEX(REPLACE('01a1e0a0-0013-7000-8000-000000000013', '-', '')), 'record', 'record', 'DbAndTrustlog', '2026-11-16 11:10:00.000000',
   'n.garcia', 'consent.keep', 'patient/10428813/consent', 'ehr',
   '"sha256:fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"',
   NULL, 'fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13', NULL),
  (UNHEX(REPLACE('01a1e0a0-0014-7000-8000-000000000014', '-', '')), 'record', 'record', 'DbAndTrustlog', '2026-11-16 11:15:00.000000',
   '王芳', 'document.keep', 'archive/1923/00412', 'city-archive',
   '{"pages":212,"title":"土地登记簿"}',
   'a4e624d686e03ed2767c0abd85c14426b0b1157d2ce81d27bb4fe4f6f01d688a', NULL, NULL),
  (UNHEX(REPLACE('01a1e0a0-0015-7000-8000-000000000015', '-', '')), 'record', 'record', 'DbAndTrustlog', '2026-11-16 11:20:00.000000',
   'kim.minjun', 'minutes.keep', 'archive/2026/council/november', NULL,
   NULL, NULL, NULL, NULL);

-- Stored only. `trustlog promote 01a1e0a0-0016-7000-8000-000000000016` delivers one after all.
INSERT INTO operation
  (id, kind, lane, strategy, occurred_at, actor, action, target, source, payload, client_ip, server_ip)
VALUES
  (UNHEX(REPLACE('01a1e0a0-0016-7000-8000-000000000016', '-', '')), 'operation', 'operation', 'DbOnly', '2026-11-16 12:00:00.000000',
   'guest:reading-room', 'document.view', 'archive/1923/00412', 'city-archive',
   '{"purpose":"genealogy","seat":7}', '198.51.100.78', NULL),
  (UNHEX(REPLACE('01a1e0a0-0017-7000-8000-000000000017', '-', '')), 'operation', 'operation', 'DbOnly', '2026-11-16 12:01:00.000000',
   'service:monitoring', 'health.check', 'instance/7f3a90c1', NULL,
   NULL, NULL, '2001:db8:1::20'),
  (UNHEX(REPLACE('01a1e0a0-0018-7000-8000-000000000018', '-', '')), 'operation', 'operation', 'DbOnly', '2026-11-16 12:02:00.000000',
   'service:monitoring', 'budget.report', 'project/ledger', NULL,
   '-1250.5', NULL, '2001:db8:1::20'),
  (UNHEX(REPLACE('01a1e0a0-0019-7000-8000-000000000019', '-', '')), 'record', 'record', 'DbOnly', '2026-11-16 12:03:00.000000',
   'wang.fang', 'draft.keep', 'archive/drafts/00007', 'city-archive',
   '{"pages":3}', NULL, NULL),
  (UNHEX(REPLACE('01a1e0a0-0020-7000-8000-000000000020', '-', '')), 'record', 'record', 'DbOnly', '2026-11-16 12:04:00.000000',
   'wang.fang', 'draft.keep', 'archive/drafts/00008', 'city-archive',
   '{"pages":5}', NULL, NULL);

-- What is to be delivered is a row here, in the same transaction as the operation: that row is the whole queue.
INSERT INTO trustlog_pending (lane, position)
SELECT lane, position
FROM operation
WHERE strategy = 'DbAndTrustlog'
  AND id BETWEEN UNHEX(REPLACE('01a1e0a0-0001-7000-8000-000000000001', '-', '')) AND UNHEX(REPLACE('01a1e0a0-0020-7000-8000-000000000020', '-', ''));

COMMIT;
