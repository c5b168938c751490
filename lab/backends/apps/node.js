'use strict';

// node node.js <port> <timeout> [<address>]

const http = require('node:http');

const [port, timeout] = process.argv.slice(2, 4).map(Number);
const address = process.argv[4] ?? '127.0.0.1';

const server = http.createServer((request, response) => {
  request.resume().on('end', () => {
    response.setHeader('X-Connection', request.socket.remotePort);
    response.end('ok\n');
  });
});

server.keepAliveTimeout = timeout;
server.listen(port, address);
