'use strict';

// node backend.js, with a channel to its parent
//
// It answers at once, or when as many requests wait as it was told to hold: so they all need a connection of their own.

const net = require('node:net');

const { serve } = require('./messages');

// without a body, for nginx does not read that of a mirrored request, and keeps no connection with one unread
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';

let hold = 0;
let open = 0;
let waiting = [];

const server = net.createServer({ noDelay: true }, (socket) => {
  open++;

  // the requests are short, and come in one piece
  socket.on('data', () => receive(socket));
  socket.on('error', () => {});
  socket.on('close', () => { open--; });
});

function receive(socket) {
  if (hold === 0) {
    socket.write(ANSWER);
    return;
  }

  waiting.push(socket);

  if (waiting.length === hold) {
    waiting.forEach((each) => each.write(ANSWER));
    waiting = [];
    hold = 0;
  }
}

serve({
  hold(count) { hold = count; },
  open: () => open,
  waiting: () => waiting.length,
  listen: () => new Promise((resolve) => {
    server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => resolve(server.address().port));
  }),
});
