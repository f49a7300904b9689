// What a page sees without a library: the headers that CORS exposes, errors, preflights.

import { CID } from 'multiformats/cid'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { createIPNSRecord, marshalIPNSRecord } from 'ipns'
import { expectEqual, expectThat } from '../expect.js'
import { openClient } from '../clients/open.js'

// Past the browser's own cache, so that what is seen is the server's answer.
function ask (api, path, init = {}) {
  return fetch(`${api}/routing/v1/${path}`, { cache: 'no-store', ...init })
}

export const bareCases = [
  {
    name: 'page is of another origin',
    run: async ({ api }) => {
      expectThat(new URL(api).origin !== location.origin, `both are of ${location.origin}`)
    }
  },
  {
    name: 'etag visible, and revalidated',
    run: async ({ api, fixture }) => {
      const first = await ask(api, `providers/${fixture.one}`)
      await first.text()
      const etag = first.headers.get('etag')
      expectThat(etag != null && etag.length > 2, `the page sees the ETag ${etag}`)
      const second = await ask(api, `providers/${fixture.one}`, { headers: { 'If-None-Match': etag } })
      expectEqual(second.status, 304, 'the status of a revalidation')
    }
  },
  {
    name: 'error readable',
    run: async ({ api }) => {
      const answer = await ask(api, 'providers/this-is-no-cid')
      const text = await answer.text()
      expectEqual(answer.status, 422, 'the status')
      expectThat(/cid/i.test(text), `the text does not name the parameter: ${text}`)
      expectThat(answer.headers.get('x-request-id') != null, 'the page does not see X-Request-Id')
    }
  },
  {
    name: 'error of an unknown path readable',
    run: async ({ api }) => {
      const answer = await ask(api, 'nothing/here')
      expectEqual(answer.status, 400, 'the status')
      expectThat((await answer.text()).length > 0, 'there is no text')
    }
  },
  {
    name: '404 readable',
    run: async ({ api, fixture }) => {
      const answer = await ask(api, `providers/${fixture.none}`, { headers: { Accept: 'application/json' } })
      expectEqual(answer.status, 404, 'the status')
      expectEqual(await answer.json(), { Providers: [] }, 'the body')
    }
  },
  {
    name: 'providers twice with the client\'s own cache',
    run: async ({ api, fixture }) => {
      const client = await openClient(9, api, { cacheTTL: 60_000, cacheName: 'interop' })
      try {
        for (const time of ['first', 'second']) {
          const found = []
          for await (const record of client.providers(CID.parse(fixture.one))) {
            found.push(record.id)
          }
          expectEqual(found, [fixture.peer], `providers the ${time} time`)
        }
      } finally {
        await client.stop()
      }
    }
  },
  {
    name: 'ipns put after a preflight, etag visible',
    run: async ({ api, fixture }) => {
      const key = await generateKeyPair('Ed25519')
      const path = `ipns/${key.publicKey.toCID()}`
      const type = 'application/vnd.ipfs.ipns-record'
      const body = marshalIPNSRecord(await createIPNSRecord(key, `/ipfs/${fixture.one}`, 1, 3_600_000))
      const put = await ask(api, path, { method: 'PUT', headers: { 'Content-Type': type }, body })
      expectEqual(put.status, 200, 'the status of PUT')
      const got = await ask(api, path, { headers: { Accept: type } })
      expectEqual(got.status, 200, 'the status of GET')
      expectThat(got.headers.get('etag') != null, 'the page does not see the ETag')
      expectEqual([...new Uint8Array(await got.arrayBuffer())], [...body], 'the record')
    }
  },
  {
    name: 'ipns put of a broken record is a readable error',
    run: async ({ api }) => {
      const key = await generateKeyPair('Ed25519')
      const answer = await ask(api, `ipns/${key.publicKey.toCID()}`, {
        method: 'PUT',
        headers: { 'Content-Type': 'application/vnd.ipfs.ipns-record' },
        body: new Uint8Array([1, 2, 3])
      })
      expectEqual(answer.status, 400, 'the status')
      expectThat((await answer.text()).length > 0, 'there is no text')
    }
  }
]
