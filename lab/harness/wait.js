'use strict';

// Waiting, never without a bound.

const { setTimeout: sleep } = require('node:timers/promises');

const POLL = 5;

// Waits until the condition holds, and returns what it returned.
async function until(condition, milliseconds, what, poll = POLL) {
  const end = Date.now() + milliseconds;

  for (;;) {
    const result = await condition();

    if (result) {
      return result;
    }

    if (Date.now() > end) {
      throw new Error(`${what}: not within ${milliseconds} ms`);
    }

    await sleep(poll);
  }
}

// The result of a promise, or an error when it takes too long.
async function within(promise, milliseconds, what) {
  const timer = new AbortController();

  const late = sleep(milliseconds, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what}: not within ${milliseconds} ms`);
  });

  try {
    return await Promise.race([promise, late]);
  } finally {
    late.catch(() => {});
    timer.abort();
  }
}

module.exports = { sleep, until, within };
