import { assert, describe, it } from "@effect/vitest"
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Either from "effect/Either"
import * as crypto from "node:crypto"
import * as note from "../../src/internal/note.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const makeSigner = (name: string) => {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("ed25519")
  const { x = "" } = publicKey.export({ format: "jwk" })
  return { privateKey, verifier: { name, publicKey: new Uint8Array(Buffer.from(x, "base64url")) } }
}

const { privateKey, verifier } = makeSigner("trustlog.local/a")
const checkpoint = { origin: "trustlog.local/a", size: 70_000, root: new Uint8Array(32).fill(7) }
const signed = note.sign(note.format(checkpoint), verifier, privateKey)

const problem = (text: string | Uint8Array, by = verifier): string =>
  Either.match(note.openCheckpoint(typeof text === "string" ? bytes(text) : text, by), {
    onLeft: (error) => error,
    onRight: () => "opens"
  })

describe("note", () => {
  it("reads the checkpoint of the specification", () => {
    const example = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n" +
      "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    const read = Either.getOrThrow(note.parseNote(bytes(example)))
    const { origin, root, size } = Either.getOrThrow(note.parseCheckpoint(read.text))
    assert.strictEqual(origin, "example.com/behind-the-sofa")
    assert.strictEqual(size, 20852163)
    assert.strictEqual(bytesToHex(root), "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62")
    assert.deepStrictEqual(read.signatures.map((line) => [line.name, line.id.length, line.signature.length]), [
      ["example.com/behind-the-sofa", 4, 64]
    ])
    assert.strictEqual(note.format({ origin, root, size }), read.text)
  })

  it("tells of a signature alone whose it is, and whether it is over the text", () => {
    const other = makeSigner("trustlog.local/a")
    const signature = note.signatureOf("text\n", verifier, privateKey)
    assert.strictEqual(note.signatureProblem("text\n", verifier, signature), undefined)
    assert.strictEqual(note.signatureProblem("text", verifier, signature), "does not verify")
    assert.strictEqual(note.signatureProblem("text\n", other.verifier, signature), "is of another key")
    assert.strictEqual(note.signatureProblem("text\n", { ...verifier, name: "b" }, signature), "is of another key")
    for (const no of ["", "signed", `${signature} `, signature.slice(4), `${signature}AAAA`]) {
      assert.strictEqual(note.signatureProblem("text\n", verifier, no), "is no signature")
    }
  })

  it("opens what it has signed", () => {
    assert.deepStrictEqual(note.openCheckpoint(bytes(signed), verifier), Either.right(checkpoint))
    assert.match(signed, /^trustlog\.local\/a\n70000\n[^\n]{44}\n\n— trustlog\.local\/a [^\n]{92}\n$/u)
  })

  it("gives a verifier key that reads back, and refuses one with any character changed", () => {
    const text = note.formatVerifier(verifier)
    assert.deepStrictEqual(note.parseVerifier(text), Either.right(verifier))
    for (let i = 0; i < text.length; i++) {
      const changed = `${text.slice(0, i)}${text[i] === "b" ? "c" : "b"}${text.slice(i + 1)}`
      assert.isTrue(Either.isLeft(note.parseVerifier(changed)), changed)
    }
    for (const text of ["", "a", "a+b", "a+00000000+", `a b+${note.formatVerifier(verifier)}`, "+00000000+AQ=="]) {
      assert.isTrue(Either.isLeft(note.parseVerifier(text)), text)
    }
  })

  it("refuses a checkpoint with any byte changed, cut anywhere, or longer", () => {
    const whole = bytes(signed)
    for (let i = 0; i < whole.length; i++) {
      assert.notStrictEqual(problem(whole.map((byte, at) => at === i ? byte ^ 1 : byte)), "opens", `byte ${i}`)
      assert.notStrictEqual(problem(whole.subarray(0, i)), "opens", `cut at ${i}`)
    }
    assert.notStrictEqual(problem(`${signed}x`), "opens")
    assert.notStrictEqual(problem(`${signed}\n`), "opens")
  })

  it("ignores signatures of unknown keys, and needs one of the known key", () => {
    const other = makeSigner("trustlog.local/b")
    const namesake = makeSigner("trustlog.local/a")
    const line = (signer: typeof other) =>
      note.sign(note.format(checkpoint), signer.verifier, signer.privateKey).split("\n\n")[1] ?? ""
    assert.strictEqual(problem(signed + line(other) + line(namesake)), "opens")
    assert.strictEqual(problem(`${note.format(checkpoint)}\n${line(other)}`), "is not signed by the ledger's key")
    assert.strictEqual(problem(`${note.format(checkpoint)}\n${line(namesake)}`), "is not signed by the ledger's key")
  })

  it("refuses the whole note when one of the known key's signatures fails", () => {
    const later = note.sign(note.format({ ...checkpoint, size: 70_001 }), verifier, privateKey)
    assert.strictEqual(problem(signed + (later.split("\n\n")[1] ?? "")), "has a signature that does not verify")
  })

  it("refuses a note of another origin under the ledger's key", () => {
    const foreign = note.sign(note.format({ ...checkpoint, origin: "trustlog.local/b" }), verifier, privateKey)
    assert.strictEqual(problem(foreign), "is of another ledger")
  })

  it("refuses texts that are no checkpoint", () => {
    const root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    for (
      const text of [
        "",
        "\n",
        `o\n1\n${root}`,
        `\n1\n${root}\n`,
        `o\n01\n${root}\n`,
        `o\n-1\n${root}\n`,
        `o\n1e3\n${root}\n`,
        `o\n9007199254740992\n${root}\n`,
        `o\n1\n${root.slice(1)}\n`,
        `o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n`,
        `o\n1\n${root}\n\n`
      ]
    ) assert.isTrue(Either.isLeft(note.parseCheckpoint(text)), JSON.stringify(text))
    assert.isTrue(Either.isRight(note.parseCheckpoint(`o\n1\n${root}\nextension\n`)))
    assert.strictEqual(problem(Uint8Array.of(0xff, 0xfe, 10, 10, 10)), "is not UTF-8")
    assert.strictEqual(problem(new Uint8Array(2_000_000)), "is too large for a note")
  })
})
