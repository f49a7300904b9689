// The page's own site: a static server on another port, and under another name, than the API's.

import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { build } from 'esbuild'

const sources = join(import.meta.dirname, 'page')

async function bundle () {
  const { outputFiles } = await build({
    entryPoints: [join(sources, 'page.js')],
    bundle: true, write: false, format: 'iife', platform: 'browser', target: 'chrome120', logLevel: 'silent'
  })
  return outputFiles[0].text
}

// The page's URL. `api` and `fixture` are what the page is told.
export async function openSite (context, { api, fixture }) {
  const script = `globalThis.suite = ${JSON.stringify({ api, fixture })};\n${await bundle()}`
  const files = {
    '/': ['text/html; charset=utf-8', readFileSync(join(sources, 'index.html'))],
    '/page.js': ['text/javascript; charset=utf-8', script]
  }
  const server = createServer((request, response) => {
    const [type, content] = files[request.url] ?? []
    response.writeHead(type == null ? 404 : 200, { 'Content-Type': type ?? 'text/plain' })
    response.end(content)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.atEnd(async () => {
    server.closeAllConnections()
    server.close()
  })
  return `http://localhost:${server.address().port}/`
}
