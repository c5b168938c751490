'use strict';

// The tables and the picture of what many idle connections cost, its goals, and the limits that break a run.

const { goal } = require('../benchmark');
const { COLOURS, LABEL, stack } = require('../panels');

const NAMES = ['stock', 'module'];

const name = ({ withModule }) => NAMES[Number(withModule)];
const digits = (count) => (value) => value.toFixed(count);
const ms = digits(1);

const INSTRUCTIONS = [
  { head: 'idle', text: ({ idle }) => idle, right: true },
  { head: 'upstreams', text: ({ upstreams }) => upstreams, right: true },
  { head: 'nginx', text: name },
  { head: 'instructions per request', text: ({ perRequest }) => Math.round(perRequest), right: true },
  { head: 'per expiry', text: ({ perExpiry }) => Math.round(perExpiry), right: true },
];

const MEMORY = [
  { head: 'nginx', text: name },
  { head: 'bytes per idle connection', text: ({ bytes }) => digits(1)(bytes), right: true },
];

const STALLS = [
  { head: 'expiry', text: ({ expiry }) => expiry },
  { head: 'idle', text: ({ idle }) => idle, right: true },
  { head: 'nginx', text: name },
  { head: 'longest stall in ms', text: ({ longest }) => ms(longest.median), right: true },
  { head: 'from', text: ({ longest }) => ms(longest.lowest), right: true },
  { head: 'to', text: ({ longest }) => ms(longest.highest), right: true },
  { head: 'with nothing to do', text: ({ quiet }) => ms(quiet.median), right: true },
];

const STATUS = [
  { head: 'status of', text: ({ upstreams }) => `${upstreams} upstreams` },
  { head: 'format', text: ({ format }) => format },
  { head: 'ms', text: ({ milliseconds }) => ms(milliseconds), right: true },
  { head: 'kB', text: ({ size }) => Math.round(size / 1000), right: true },
  { head: 'stall in ms', text: ({ stall }) => ms(stall), right: true },
];

// In a layout of lab/harness/table.js.
const tables = ({ instructions, memory, stalls, status }, layout) => [
  layout(INSTRUCTIONS, instructions),
  layout(MEMORY, memory),
  layout(STALLS, stalls),
  layout(STATUS, status),
];

const own = (results) => results.filter(({ withModule }) => withModule);

// How much the figures of the module grow from few connections to many, and from one upstream to many.
function growth(instructions) {
  const one = own(instructions).filter(({ upstreams }) => upstreams === 1);
  const [few, more, most] = [one[0], one.at(-2), one.at(-1)];
  const spread = own(instructions).find(({ upstreams }) => upstreams > 1);
  const same = spread && one.find(({ idle }) => idle === spread.idle);

  return {
    few: few.idle,
    more: more.idle,
    most: most.idle,
    upstreams: spread?.upstreams,
    request: most.perRequest / few.perRequest,
    // with ten, what belongs to none of them counts as well
    expiry: most.perExpiry / more.perExpiry,
    spread: same && spread.perRequest / same.perRequest,
  };
}

function goals({ instructions, memory, stalls }) {
  const grown = growth(instructions);
  const [stock, module] = memory;

  return [
    goal(`request with ${grown.most} idle, of one with ${grown.few}`, grown.request, { most: 1.05 }),
    grown.more > grown.few && goal(`expiry of ${grown.most}, each, of ${grown.more}`, grown.expiry, { most: 1.1 }),
    grown.spread && goal(`request with ${grown.upstreams} upstreams, of one with 1`, grown.spread, { most: 1.05 }),
    goal('bytes more per idle connection', module.bytes - stock.bytes, { most: 128 }),
    ...own(stalls).map(({ expiry, longest }) => goal(`stall, ${expiry}`, longest.median, { most: 10 }, ' ms')),
  ].filter(Boolean);
}

// What no machine excuses.
function broken({ instructions, memory: [stock, module] }) {
  const { request, expiry } = growth(instructions);

  return [
    request > 1.5 && `a request costs ${request.toFixed(2)} times as much with many idle connections`,
    expiry > 3 && `an expiry costs ${expiry.toFixed(2)} times as much with many idle connections`,
    module.bytes - stock.bytes > 512 && `${module.bytes - stock.bytes} bytes more per idle connection`,
  ].filter(Boolean).join('\n');
}

function picture({ instructions, memory, stalls, status, versions }) {
  const cases = own(instructions);
  const labels = cases.map(({ idle, upstreams }) => (upstreams > 1 ? `${idle}, of ${upstreams} upstreams` : `${idle}`));
  const both = (results, value, label = LABEL) => NAMES.map((each, i) => ({
    name: each,
    color: COLOURS[i],
    type: 'bar',
    barMaxWidth: 60,
    label,
    data: results.filter((result) => name(result) === each).map(value),
  }));
  const [stock, module] = memory.map(({ bytes }) => Math.round(bytes));
  const pages = status.map(({ format, milliseconds }) => `${format} ${Math.round(milliseconds)} ms`).join(', ');

  const panels = [
    {
      title: 'Instructions of the worker per request, by idle connections',
      names: labels,
      series: both(instructions, ({ perRequest }) => Math.round(perRequest)),
    },
    {
      title: 'Instructions of the worker per connection that expires, by idle connections',
      names: labels,
      series: both(instructions, ({ perExpiry }) => Math.round(perExpiry)),
    },
    {
      title: `Longest stall of the worker while ${stalls[0].idle} connections expire`,
      names: own(stalls).map(({ expiry }) => expiry),
      series: both(stalls, ({ longest }) => Number(ms(longest.median)),
        { ...LABEL, formatter: ({ value }) => `${value} ms` }),
      unit: 'ms',
      line: 10,
      goal: 'goal: 10 ms',
    },
  ];

  return stack(panels, {
    text: 'Many idle connections',
    subtext: `nginx ${versions.nginx}; memory per idle connection: ${stock} bytes, with the module ${module}\n` +
      `time of the status of ${status[0].upstreams} upstreams: ${pages}`,
  });
}

module.exports = { broken, goals, picture, tables };
