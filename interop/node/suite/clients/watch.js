// Watches and bends the requests of a client, which uses the global `fetch`.

export class Watch {
  #fetch = globalThis.fetch
  // The `Accept` to send instead of the client's own, unless it is null.
  accept = null
  last = null

  constructor () {
    globalThis.fetch = async (resource, init = {}) => {
      const headers = new Headers(init.headers)
      if (this.accept != null) {
        headers.set('accept', this.accept)
      }
      this.last = await this.#fetch.call(globalThis, resource, { ...init, headers })
      return this.last
    }
  }

  get status () {
    return this.last?.status
  }

  get contentType () {
    return this.last?.headers.get('content-type')
  }

  // Says beside an error which status the client had been answered.
  explain (error) {
    const status = this.last == null ? 'no answer' : `HTTP ${this.status}`
    return new Error(`${error?.message ?? error} (${status})`)
  }

  end () {
    globalThis.fetch = this.#fetch
  }
}
