'use strict';

// The machine that figures were taken on.

const os = require('node:os');

function machine() {
  const [{ model }] = os.cpus();

  return {
    cpu: model.trim(),
    cores: os.cpus().length,
    memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
}

module.exports = { machine };
