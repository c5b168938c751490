'use strict';

// The processes that are started here. None outlives this one.

const { fork, spawn } = require('node:child_process');

const { within } = require('./wait');

const STOP_WITHIN = 5000;

const running = new Set();

process.on('exit', () => running.forEach(kill));

// By default a signal ends a process without its exit handlers.
for (const [signal, number] of [['SIGHUP', 1], ['SIGINT', 2], ['SIGTERM', 15]]) {
  process.on(signal, () => process.exit(128 + number));
}

function startNode(file, args) {
  return watch(fork(file, args, { detached: true }));
}

// What the program prints is collected in `output`.
function startProgram(file, args, options) {
  const child = watch(spawn(file, args, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] }));

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
  }).finally(() => {
    kill(child);
    running.delete(child);
  });

  return child;
}

// A process that is started here leads a group of its own: with it go all that it has started.
function kill(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // there is none left
  }
}

async function stop(child) {
  child.kill('SIGTERM');

  try {
    await within(child.ended, STOP_WITHIN, `process ${child.pid} to end`);
  } catch {
    kill(child);
    await within(child.ended, STOP_WITHIN, `process ${child.pid} to end`);
  }
}

module.exports = { startNode, startProgram, stop };
