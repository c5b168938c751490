'use strict';

// The two kinds of request, and the answer to the larger one.

const { get } = require('../../harness/client');

const HOST = 'Host: shop.example';

// Both go to a path of their own.
const REQUESTS = [
  {
    kind: 'small',
    what: 'as curl sends it; the answer has 6 bytes',
    headers: [HOST, 'User-Agent: curl/8.5.0', 'Accept: */*'],
    log: 'off',
  },
  {
    kind: 'browser',
    what: '13 headers with a cookie; the answer has 10 headers and 2 KB of JSON; access_log to a file',
    headers: [
      HOST,
      'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
      'Accept: application/json, text/plain, */*',
      'Accept-Language: en-GB,en;q=0.7,de;q=0.3',
      'Accept-Encoding: gzip, deflate, br, zstd',
      'Referer: https://shop.example/catalogue/garden?page=4&sort=price',
      'Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=necessary; cart=c2VlZHMsc3BhZGU',
      'X-Requested-With: XMLHttpRequest',
      'Sec-Fetch-Dest: empty',
      'Sec-Fetch-Mode: cors',
      'Sec-Fetch-Site: same-origin',
      'Pragma: no-cache',
      'Cache-Control: no-cache',
    ],
    log: 'access.log combined',
  },
].map((request) => ({ ...request, path: `/${request.kind}`, text: get(`/${request.kind}`, request.headers) }));

const item = (id) => ({ id, name: `garden tool ${id}`, price: 1995 + id, stock: id % 7, tags: ['garden', 'steel'] });

// About 2 KB, without what has a meaning in nginx.conf.
const JSON_BODY = JSON.stringify({ page: 4, items: Array.from({ length: 24 }, (_, i) => item(i)) });

module.exports = { JSON_BODY, REQUESTS };
