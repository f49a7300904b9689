// Programs that run cases and say on standard output how each ended: `begin NAME`, then `ok NAME`
// or `FAIL NAME: REASON`, and `end` after the last one.

import { run } from './processes.js'

// A program that ends before its `end` failed in the case that it was in.
export async function runProgram (report, command, args, { seconds }) {
  let current = 'start'
  let ended = false
  const { code, stderr } = await run(command, args, {
    seconds,
    onLine: line => {
      const [word, ...rest] = line.split(' ')
      const text = rest.join(' ')
      if (word === 'begin') {
        current = text
      } else if (word === 'ok') {
        report.ok(text)
      } else if (word === 'FAIL') {
        const [name, ...reason] = text.split(': ')
        report.fail(name, reason.join(': '))
      } else if (line === 'end') {
        ended = true
      }
    }
  })
  if (!ended || code !== 0) {
    const said = stderr.trim().split('\n').slice(-8).join(' | ')
    report.fail(current, `the program ended with ${code} in the midst of it: ${said}`)
  }
}
