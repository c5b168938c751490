'use strict';

// Calls of functions in a child process.

const { within } = require('../../harness/wait');

const ANSWER_WITHIN = 60_000;

// In the child: what it can be asked.
function serve(functions) {
  process.on('message', async ({ id, name, args }) => {
    process.send({ id, result: await functions[name](...args) });
  });
}

// In the parent: asks the child, and resolves to its answer.
class Remote {
  constructor(child) {
    this.child = child;
    this.calls = new Map();
    this.id = 0;

    child.on('message', ({ id, result }) => {
      this.calls.get(id)?.(result);
      this.calls.delete(id);
    });
  }

  call(name, ...args) {
    const id = ++this.id;
    const answer = new Promise((resolve) => this.calls.set(id, resolve));

    this.child.send({ id, name, args });

    return within(answer, ANSWER_WITHIN, `an answer to ${name}`);
  }
}

module.exports = { serve, Remote };
