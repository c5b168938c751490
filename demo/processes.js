'use strict';

// The processes that the demo starts. None outlives it.

const { fork, spawn } = require('node:child_process');

const { within } = require('./wait');

const STOP_WITHIN = 5000;

const running = new Set();

process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

// By default a signal ends a process without its exit handlers.
for (const [signal, number] of [['SIGHUP', 1], ['SIGINT', 2], ['SIGTERM', 15]]) {
  process.on(signal, () => process.exit(128 + number));
}

function startNode(file, args) {
  return watch(fork(file, args));
}

// What the program prints is collected in `output`.
function startProgram(file, args) {
  const child = watch(spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] }));

  child.output = '';

  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => { child.output += data; });
  }

  return child;
}

// `ended` tells how the process ended, when it has.
function watch(child) {
  running.add(child);

  child.ended = new Promise((resolve) => {
    // not before all of its output is read, as 'exit' is
    child.on('close', (code, signal) => resolve(signal ?? `status ${code}`));
    child.on('error', (error) => resolve(error.message));
  }).finally(() => running.delete(child));

  return child;
}

async function stop(child) {
  child.kill('SIGTERM');

  try {
    await within(child.ended, STOP_WITHIN, `process ${child.pid} to end`);
  } catch {
    child.kill('SIGKILL');
    await within(child.ended, STOP_WITHIN, `process ${child.pid} to end`);
  }
}

module.exports = { startNode, startProgram, stop };
