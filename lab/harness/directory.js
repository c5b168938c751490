'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// A directory for configurations and logs. Unless it is to be left, it goes when the process does, however that ends.
function makeDirectory(name, leave) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), `idle-timeout-${name}-`));

  process.on('exit', () => {
    if (leave) {
      console.log(`configurations and logs: ${directory}`);
    } else {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });

  return directory;
}

module.exports = { makeDirectory };
