/**
 * Keys that sign envelopes in tests: those of RFC 8032, whose signatures everybody knows, and new ones.
 */
import { hexToBytes } from "@noble/hashes/utils.js"
import * as crypto from "node:crypto"
import type { Message } from "../src/Publisher.ts"
import * as Signature from "../src/Signature.ts"

export interface TestKey {
  /** The private key, as PKCS #8. */
  readonly pem: string
  readonly publicPem: string
  readonly publicKey: Uint8Array
  readonly id: string
}

const keyOf = (privateKey: crypto.KeyObject): TestKey => {
  const publicKey = crypto.createPublicKey(privateKey)
  const { x = "" } = publicKey.export({ format: "jwk" })
  const bytes = new Uint8Array(Buffer.from(x, "base64url"))
  return {
    pem: privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    publicPem: publicKey.export({ format: "pem", type: "spki" }).toString(),
    publicKey: bytes,
    id: crypto.createHash("sha256").update(bytes).digest("hex").slice(0, 32)
  }
}

const ofSeed = (seed: string): TestKey =>
  keyOf(crypto.createPrivateKey({
    key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), hexToBytes(seed)]),
    format: "der",
    type: "pkcs8"
  }))

/** RFC 8032, section 7.1: the keys of TEST 1 and TEST 2. */
export const first: TestKey = ofSeed("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
export const second: TestKey = ofSeed("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")

export const fresh = (): TestKey => keyOf(crypto.generateKeyPairSync("ed25519").privateKey)

/** The same bytes as a signer sends, made with another library. */
export const signedBy = (keys: ReadonlyArray<TestKey>, payload: Uint8Array): Uint8Array =>
  Signature.encode({
    payload,
    signatures: keys.map(({ id, pem }) => ({
      keyId: id,
      signature: new Uint8Array(
        crypto.sign(null, Signature.preAuthentication(Signature.payloadType, payload), pem)
      )
    }))
  })

/** A message as it is sent by whoever signs with some keys. */
export const signed = (message: Message, ...keys: ReadonlyArray<TestKey>): Message => ({
  ...message,
  bytes: signedBy(keys, message.bytes),
  contentType: Signature.contentType
})
