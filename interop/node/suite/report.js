// How the cases ended: one line for each, and the counts.

const reasonLengthMax = 400

// What went wrong, as one line.
export function reasonOf (error) {
  const text = error?.message ?? String(error)
  const cause = error?.cause?.message
  const line = (cause == null ? text : `${text}: ${cause}`).replace(/\s+/g, ' ').trim()
  return line.length > reasonLengthMax ? `${line.slice(0, reasonLengthMax)}...` : line
}

// Ends with `promise`, or fails after `seconds`. The work behind a promise cannot be stopped from
// here: whoever starts processes for it ends them.
export async function within (seconds, promise) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => { reject(new Error(`not done after ${seconds} s`)) }, seconds * 1000)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

export class Report {
  passed = 0
  failed = 0

  ok (name) {
    this.passed += 1
    console.log(`ok    ${name}`)
  }

  fail (name, error) {
    this.failed += 1
    console.log(`FAIL  ${name}: ${reasonOf(error)}`)
  }

  note (text) {
    console.log(`--    ${text}`)
  }
}

// The report of one group, whose name stands before those of its cases.
export class GroupReport {
  #report
  #group

  constructor (report, group) {
    this.#report = report
    this.#group = group
  }

  ok (name) {
    this.#report.ok(`${this.#group} ${name}`)
  }

  fail (name, error) {
    this.#report.fail(`${this.#group} ${name}`, error)
  }

  // Runs one case. Whether it passed is the answer, for cases that build on it.
  async check (name, run, { seconds = 30 } = {}) {
    try {
      await within(seconds, run())
      this.ok(name)
      return true
    } catch (error) {
      this.fail(name, error)
      return false
    }
  }
}
