'use strict';

// Bytes of the worker's memory per idle connection.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

// Builds the library that counts what is allocated.
function buildCounter(directory) {
  const library = path.join(directory, 'heap.so');

  execFileSync('cc', ['-O2', '-fPIC', '-shared', '-o', library, path.join(__dirname, 'heap.c')]);

  return library;
}

// What more connections take, so that what nginx takes for itself is out of it.
async function measureMemory(scene, library, { few, many }) {
  const file = scene.proxy.file('heap');

  await scene.proxy.start(['env', `LD_PRELOAD=${library}`, `HEAP_FILE=${file}`]);

  // the first time buffers are made which stay
  await scene.fill(few);
  const before = allocated(file);

  await scene.fill(many);
  const after = allocated(file);

  await scene.stop();

  return (after - before) / (many - few);
}

const allocated = (file) => Number(fs.readFileSync(file).readBigInt64LE());

module.exports = { buildCounter, measureMemory };
