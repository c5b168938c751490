'use strict';

// node node.js <port> <timeout>

const http = require('node:http');

const [port, timeout] = process.argv.slice(2).map(Number);

const server = http.createServer((request, response) => {
  request.resume().on('end', () => {
    response.setHeader('X-Connection', request.socket.remotePort);
    response.end('ok\n');
  });
});

server.keepAliveTimeout = timeout;
server.listen(port, '127.0.0.1');
