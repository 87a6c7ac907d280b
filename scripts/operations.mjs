/**
 * Writes examples/operations.jsonl, the same bytes at every run:
 *
 *     node scripts/operations.mjs > examples/operations.jsonl
 *
 * Three weeks of a bank, a hospital, a cloud platform and a city archive that share one audit database: short stories
 * (a transfer and its approval, a patient's admission, a change of policy) that run at the same time.
 */
import { createHash } from "node:crypto"

/** mulberry32: small, fast, and the same everywhere. */
const generator = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const random = generator(20261123)
const integer = (from, to) => from + Math.floor(random() * (to - from + 1))
const pick = (list) => list[integer(0, list.length - 1)]
const chance = (probability) => random() < probability
const hex = (digits) => Array.from({ length: digits }, () => integer(0, 15).toString(16)).join("")
const sha256 = (text) => createHash("sha256").update(text).digest("hex")
const money = (from, to) => `${integer(from, to)}.${String(integer(0, 99)).padStart(2, "0")}`
const number = (digits) => Array.from({ length: digits }, () => integer(0, 9)).join("")

const clerks = [
  { id: "a.okafor", name: "Adaeze Okafor" },
  { id: "j.müller", name: "Jürgen Müller" },
  { id: "z.nowak", name: "Zofia Nowak" },
  { id: "d.petrov", name: "Дмитрий Петров" },
  { id: "n.rossi", name: "Niccolò Rossi" },
  { id: "s.yılmaz", name: "Selin Yılmaz" }
]
const approvers = [{ id: "m.dubois", name: "Maëlle Dubois" }, { id: "k.papadakis", name: "Κώστας Παπαδάκης" }]
const physicians = [
  { id: "dr.haddad", name: "د. ليلى حداد" },
  { id: "dr.cohen", name: "ד״ר נועה כהן" },
  { id: "dr.sharma", name: "डॉ. अनिका शर्मा" },
  { id: "dr.nguyen", name: "Nguyễn Thị Hạnh" }
]
const nurses = [{ id: "n.garcia", name: "María José García" }, { id: "n.somchai", name: "สมชาย ใจดี" }]
const engineers = [
  { id: "priya", name: "Priya Raman" },
  { id: "oskar", name: "Oskar Lindström" },
  { id: "tane", name: "Tāne Ngata" },
  { id: "yuki", name: "佐藤 由紀" }
]
const archivists = [{ id: "wang.fang", name: "王芳" }, { id: "kim.minjun", name: "김민준" }]

const officeIps = ["192.0.2.10", "192.0.2.11", "192.0.2.37", "198.51.100.4", "2001:db8:10::a3", "2001:db8:10::b7"]
const strangerIps = ["203.0.113.66", "203.0.113.129", "2001:db8:bad::1", "::ffff:203.0.113.77"]
const serverIps = ["198.51.100.20", "198.51.100.21", "2001:db8:1::20"]
const zones = { bank: 60, hospital: 330, cloud: 0, archive: 480 }

/** Local time with the offset that the system writes, in the precision it has. */
const timestamp = (millis, system) => {
  const offset = zones[system]
  const local = new Date(millis + offset * 60_000).toISOString()
  if (offset === 0) return `${local.slice(0, 23)}${String(integer(0, 999)).padStart(3, "0")}Z`
  const zone = `+${String(Math.floor(offset / 60)).padStart(2, "0")}:${String(offset % 60).padStart(2, "0")}`
  return `${system === "archive" ? local.slice(0, 19) : local.slice(0, 23)}${zone}`
}

/** A UUIDv7: milliseconds, then random digits. */
const uuid = (millis) => {
  const time = millis.toString(16).padStart(12, "0")
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(3)}-${pick(["8", "9", "a", "b"])}${hex(3)}-${hex(12)}`
}

const lines = []

/** A story's clock: it starts somewhere in the three weeks, in office hours, and goes on by itself. */
const clock = () => {
  const day = integer(0, 20)
  let now = Date.UTC(2026, 10, 2 + day, integer(6, 17), integer(0, 59), integer(0, 59), integer(0, 999))
  return (seconds) => (now += Math.floor(seconds * 1000 * (0.5 + random())))
}

const trace = () => {
  const id = hex(32)
  return () => `00-${id}-${hex(16)}-${pick(["00", "01"])}`
}

const write = (system, millis, fields) =>
  lines.push({ millis, line: { id: uuid(millis), occurredAt: timestamp(millis, system), ...fields } })

const exchanged = (action, target) => ({
  requestHash: sha256(`request ${action} ${target} ${random()}`),
  responseHash: sha256(`response ${action} ${target} ${random()}`)
})

const transfer = () => {
  const after = clock()
  const span = trace()
  const clerk = pick(clerks)
  const approver = pick(approvers)
  const clientIp = pick(officeIps)
  const target = `transfer/2026-${number(7)}`
  const amount = money(10, 250_000)
  const common = () => ({ source: "core-banking", serverIp: pick(serverIps), traceparent: span() })
  write("bank", after(1), {
    actor: clerk.id,
    action: "session.login",
    target: "core-banking",
    source: "sso",
    payload: { method: pick(["password+otp", "smartcard", "passkey"]), name: clerk.name },
    clientIp
  })
  write("bank", after(90), {
    kind: "operation",
    actor: clerk.id,
    action: "transfer.create",
    target,
    payload: {
      amount,
      currency: pick(["EUR", "USD", "CHF", "JPY", "GBP"]),
      debtor: `DE${number(20)}`,
      creditor: `FR${number(14)}`,
      reference: pick([
        "Invoice 2026/118",
        "Miete November",
        "Аренда",
        "请款单 0042",
        "Solde de tout compte",
        "Rückzahlung 😊"
      ])
    },
    clientIp,
    ...exchanged("transfer.create", target),
    ...common()
  })
  if (chance(0.12)) {
    write("bank", after(1200), {
      actor: approver.id,
      action: "transfer.reject",
      target,
      payload: { reason: pick(["limit exceeded", "creditor on watch list", "duplicate of another transfer"]), amount },
      clientIp: pick(officeIps),
      ...common()
    })
    return
  }
  write("bank", after(1200), {
    actor: approver.id,
    action: "transfer.approve",
    target,
    payload: { amount, fourEyes: true, approvals: [clerk.id, approver.id] },
    clientIp: pick(officeIps),
    ...exchanged("transfer.approve", target),
    ...common()
  })
  write("bank", after(20), {
    actor: "service:settlement",
    action: "transfer.execute",
    target,
    payload: { network: pick(["SEPA", "SWIFT", "TARGET"]), latencyMs: integer(12, 900) / 8, fee: 0.35 },
    clientIp: null,
    ...common()
  })
}

const statement = () => {
  const after = clock()
  const account = `DE${number(20)}`
  const document = sha256(`statement ${account} ${random()}`)
  write("bank", after(1), {
    kind: "record",
    actor: "service:statements",
    action: "statement.keep",
    target: `account/${account}/statement/2026-10`,
    source: "document-store",
    payload: { sha256: document, mediaType: "application/pdf", bytes: integer(20_000, 900_000), retentionYears: 10 },
    responseHash: document,
    serverIp: pick(serverIps)
  })
}

const intrusion = () => {
  const after = clock()
  const clientIp = pick(strangerIps)
  const account = pick([...clerks, ...engineers]).id
  const attempts = integer(2, 5)
  for (let attempt = 1; attempt <= attempts; attempt++) {
    write("bank", after(4), {
      actor: account,
      action: "session.refuse",
      target: "core-banking",
      source: "sso",
      payload: {
        attempt,
        reason: pick(["wrong password", "unknown device", "otp expired"]),
        country: pick(["XX", "ZZ"])
      },
      clientIp
    })
  }
  if (attempts > 3) {
    write("bank", after(1), {
      actor: "service:sso",
      action: "account.lock",
      target: `account/${account}`,
      source: "sso",
      payload: ["too many refused logins", attempts, { until: null }],
      clientIp
    })
  }
}

const admission = () => {
  const after = clock()
  const span = trace()
  const physician = pick(physicians)
  const nurse = pick(nurses)
  const patient = `patient/${number(8)}`
  const common = () => ({ source: "ehr", serverIp: "2001:db8:40::5", traceparent: span() })
  write("hospital", after(1), {
    actor: nurse.id,
    action: "patient.admit",
    target: patient,
    payload: { ward: pick(["3A", "3B", "ICU", "पूर्व"]), by: nurse.name, triage: integer(1, 5) },
    clientIp: "2001:db8:40::21",
    ...common()
  })
  const isEmergency = chance(0.15)
  write("hospital", after(300), {
    actor: physician.id,
    action: isEmergency ? "chart.breakGlass" : "chart.read",
    target: `${patient}/chart`,
    payload: isEmergency
      ? { justification: "unconscious patient, allergies unknown", name: physician.name, expiresInMinutes: 60 }
      : { sections: ["allergies", "medication", "vitals"].slice(0, integer(1, 3)), name: physician.name },
    clientIp: "2001:db8:40::2f",
    ...common()
  })
  for (let i = integer(0, 2); i > 0; i--) {
    const target = `${patient}/prescription/${number(5)}`
    write("hospital", after(900), {
      actor: physician.id,
      action: "prescription.sign",
      target,
      payload: {
        medication: pick(["amoxicillin", "metformin", "paracetamol", "atorvastatin"]),
        dose: { value: pick([0.5, 1, 2.5, 250, 500]), unit: pick(["mg", "g"]) },
        perDay: integer(1, 4),
        note: pick(["nach dem Essen", "à jeun", "भोजन के बाद", "مع الطعام", null])
      },
      ...exchanged("prescription.sign", target),
      ...common()
    })
  }
  const report = sha256(`report ${patient} ${random()}`)
  write("hospital", after(7200), {
    kind: "record",
    actor: "service:laboratory",
    action: "report.keep",
    target: `${patient}/report/${number(6)}`,
    source: "laboratory",
    payload: {
      sha256: report,
      results: [
        { code: "2345-7", value: integer(700, 1400) / 10, unit: "mg/dL" },
        { code: "718-7", value: integer(110, 175) / 10, unit: "g/dL" },
        { code: "6690-2", value: integer(35, 120) / 10, unit: "10*3/uL", flag: pick(["H", "L", null]) }
      ]
    },
    requestHash: report,
    serverIp: "2001:db8:40::9",
    traceparent: span()
  })
}

const consent = () => {
  const after = clock()
  const scan = sha256(`consent ${random()}`)
  write("hospital", after(1), {
    kind: "record",
    actor: pick(nurses).id,
    action: "consent.keep",
    target: `patient/${number(8)}/consent`,
    source: "ehr",
    payload: `sha256:${scan}`,
    responseHash: scan,
    clientIp: "2001:db8:40::21"
  })
}

const policyChange = () => {
  const after = clock()
  const span = trace()
  const engineer = pick(engineers)
  const reviewer = pick(engineers.filter((other) => other !== engineer))
  const target = `policy/${pick(["storage-access", "network-egress", "key-usage", "backup-retention"])}`
  const before = integer(1, 40)
  const common = () => ({
    source: "cloud-console",
    clientIp: pick(officeIps),
    serverIp: pick(serverIps),
    traceparent: span()
  })
  write("cloud", after(1), {
    actor: engineer.id,
    action: "policy.propose",
    target,
    payload: {
      before: { version: before, effect: "deny", principals: ["group:contractors"], actions: ["*"] },
      after: {
        version: before + 1,
        effect: "allow",
        principals: ["group:contractors"],
        actions: ["storage:read", "storage:list"]
      },
      ticket: `SEC-${number(4)}`
    },
    ...exchanged("policy.propose", target),
    ...common()
  })
  write("cloud", after(3000), {
    actor: reviewer.id,
    action: chance(0.85) ? "policy.approve" : "policy.refuse",
    target,
    payload: {
      version: before + 1,
      reviewer: reviewer.name,
      comment: pick(["lgtm", "問題ありません", "Ka pai", "needs an end date", ""])
    },
    ...common()
  })
}

const administration = () => {
  const after = clock()
  const engineer = pick(engineers)
  const [action, target, payload] = pick([
    ["role.grant", `user/${pick(clerks).id}`, {
      role: "auditor",
      until: "2026-12-31",
      conditions: { mfa: true, hours: [8, 18] }
    }],
    ["role.revoke", `user/${pick(clerks).id}`, { role: "administrator" }],
    ["key.rotate", `key/${number(4)}`, { algorithm: "Ed25519", oldKeyId: hex(8), newKeyId: hex(8) }],
    ["snapshot.create", `volume/${hex(8)}`, { gibibytes: integer(10, 2000), encrypted: true }],
    ["firewall.open", "network/production", [{ port: 443, from: "0.0.0.0/0" }, { port: 22, from: "192.0.2.0/24" }]],
    ["secret.read", `secret/${pick(["db-password", "api-token", "tls-key"])}`, null],
    ["instance.stop", `instance/${hex(8)}`, true],
    ["budget.change", "project/ledger", -1250.5],
    ["clock.skew", `instance/${hex(8)}`, 1.5e-7]
  ])
  write("cloud", after(1), {
    kind: "operation",
    actor: engineer.id,
    action,
    target,
    source: chance(0.5) ? "terraform" : "cloud-console",
    payload,
    clientIp: chance(0.3) ? null : pick(officeIps),
    serverIp: null
  })
}

const dataExport = () => {
  const after = clock()
  const span = trace()
  const engineer = pick(engineers)
  const target = `export/${number(6)}`
  const rows = integer(1_000, 4_000_000)
  const file = sha256(`${target} ${random()}`)
  write("cloud", after(1), {
    actor: engineer.id,
    action: "export.request",
    target,
    source: "warehouse",
    payload: {
      query:
        `SELECT id, country, "created at"\nFROM customers\nWHERE country IN ('DE', 'FR')\n\tAND consent = TRUE -- ${
          number(4)
        }`,
      columns: ["id", "country", "created at"],
      legalBasis: "GDPR Art. 6(1)(c)"
    },
    clientIp: pick(officeIps),
    traceparent: span()
  })
  write("cloud", after(600), {
    actor: "service:warehouse",
    action: "export.finish",
    target,
    source: "warehouse",
    payload: {
      rows,
      bytes: rows * 41,
      seconds: integer(10, 9000) / 4,
      files: [{ path: `s3://exports/${target}.parquet`, sha256: file }]
    },
    responseHash: file,
    serverIp: pick(serverIps),
    traceparent: span()
  })
}

const deposit = () => {
  const after = clock()
  const archivist = pick(archivists)
  const scan = sha256(`deposit ${random()}`)
  write("archive", after(1), {
    kind: "record",
    actor: archivist.id,
    action: "document.keep",
    target: `archive/${integer(1890, 2026)}/${number(5)}`,
    source: "city-archive",
    payload: {
      archivist: archivist.name,
      title: pick([
        "土地登记簿",
        "혼인 신고서",
        "Council minutes",
        "Bebauungsplan «Am Hang»",
        "戸籍謄本",
        "Registre de naixements"
      ]),
      pages: integer(1, 400),
      sha256: scan,
      keywords: pick([["land"], ["family", "1900s"], []])
    },
    requestHash: scan,
    clientIp: pick(["198.51.100.77", "2001:db8:80::7"])
  })
  if (chance(0.2)) {
    write("archive", after(40_000), {
      actor: "guest:reading-room",
      action: "document.view",
      target: `archive/${integer(1890, 2026)}/${number(5)}`,
      source: "city-archive",
      payload: { seat: integer(1, 24), purpose: pick(["genealogy", "研究", "논문"]) },
      clientIp: "198.51.100.78"
    })
  }
}

/** One record whose envelope exceeds what a ledger's entry can hold, so that its digest stands for it. */
const minutes = () => {
  const after = clock()
  const items = Array.from({ length: 420 }, (_, i) => ({
    item: i + 1,
    motion: pick(["Budget 2027", "Radweg Nord", "Schulneubau", "Sanierung der Brücke", "Öffnungszeiten"]),
    votes: { yes: integer(20, 60), no: integer(0, 30), abstained: integer(0, 5) },
    speaker: pick([...clerks, ...approvers, ...physicians]).name,
    remark: "The chair thanks the speaker; the text is adopted as amended and annexed to these minutes."
  }))
  write("archive", after(1), {
    kind: "record",
    actor: "kim.minjun",
    action: "minutes.keep",
    target: "archive/2026/council/november",
    source: "city-archive",
    payload: { title: "Minutes of the city council", items },
    requestHash: sha256(JSON.stringify(items)),
    clientIp: "2001:db8:80::7"
  })
}

const stories = [
  [transfer, 260],
  [statement, 180],
  [intrusion, 55],
  [admission, 150],
  [consent, 70],
  [policyChange, 90],
  [administration, 200],
  [dataExport, 60],
  [deposit, 170],
  [minutes, 1]
]
for (const [story, times] of stories) {
  for (let i = 0; i < times; i++) story()
}

lines.sort((a, b) => a.millis - b.millis || (a.line.id < b.line.id ? -1 : 1))
process.stdout.write(lines.map(({ line }) => `${JSON.stringify(line)}\n`).join(""))
