// What cases expect. Failures say in one line what was there instead.

export class Unexpected extends Error {}

function written (value) {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 160 ? `${text.slice(0, 160)}...` : text
}

export function expectThat (holds, otherwise) {
  if (!holds) {
    throw new Unexpected(otherwise)
  }
}

export function expectEqual (got, expected, what) {
  expectThat(JSON.stringify(got) === JSON.stringify(expected),
    `${what}: ${written(got)} instead of ${written(expected)}`)
}

// Equal, whatever the order.
export function expectSame (got, expected, what) {
  expectEqual([...got].sort(), [...expected].sort(), what)
}

// That asking fails. The error is the answer.
export async function expectFailure (ask, what) {
  try {
    await ask()
  } catch (error) {
    return error
  }
  throw new Unexpected(`${what}: accepted instead of refused`)
}
