// IPNS names, each of a key of its own, put by Helia's client.

import { generateKeyPair } from '@libp2p/crypto/keys'
import { createIPNSRecord, marshalIPNSRecord } from 'ipns'
import { withClient } from '../clients/open.js'

const lifetimeMs = 3_600_000

export class Name {
  #key

  static async create () {
    const name = new Name()
    name.#key = await generateKeyPair('Ed25519')
    return name
  }

  get text () {
    return this.#key.publicKey.toCID().toString()
  }

  async put (url, value, sequence) {
    const record = marshalIPNSRecord(await createIPNSRecord(this.#key, value, sequence, lifetimeMs))
    await withClient(9, url, ({ client }) => client.putName(this.#key.publicKey.toCID(), record))
  }
}
