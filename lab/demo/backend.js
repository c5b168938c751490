'use strict';

// A plain Node backend, run as a process of its own: `node backend.js <keepAliveTimeout>`.

const http = require('node:http');

const [keepAliveTimeout] = process.argv.slice(2).map(Number);

// The header names the connection: nginx's port. So the demo learns whether it was used again.
function answer(request, response) {
  const connection = request.socket.remotePort;

  request.resume().on('end', () => {
    response.setHeader('X-Connection', connection);
    response.end('ok\n');
  });

  // Newer versions of Node close a connection a second later than they tell, and some can't be told not to.
  response.on('finish', () => request.socket.setTimeout(keepAliveTimeout));
}

const server = http.createServer(answer);

server.keepAliveTimeout = keepAliveTimeout;

server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

process.on('disconnect', () => process.exit());
