'use strict';

// The pictures of the results.

const { draw } = require('../chart');
const { BIN } = require('./cell');

const GREY = '#666666';

const WIDTH = 800;

const FAMILIES = [
  { title: 'nginx', name: 'nginx (label: keepalive_timeout)', symbol: 'circle', color: '#333333', label: 'top' },
  {
    title: 'nginx with the module', name: 'nginx with the module (label: margin)', symbol: 'diamond', color: '#0a8f3c',
    label: 'bottom',
  },
  { title: 'HAProxy', name: 'HAProxy', symbol: 'triangle', color: '#1f6fb4' },
  { title: 'Apache httpd', name: 'Apache httpd', symbol: 'rect', color: '#d1495b' },
  { title: 'Caddy', name: 'Caddy', symbol: 'arrow', color: '#8e44ad' },
  { title: 'Pingora', name: 'Pingora', symbol: 'roundRect', color: '#d98200' },
];

const PANELS = [
  { name: 'quiet', title: 'Quiet worker' },
  { name: 'blocked', title: 'Worker blocked for 0.7 s, every 1.5 s' },
  { name: '20 ms', title: '20 ms to the backend, one way' },
  { name: '50 ms', title: '50 ms to the backend, one way' },
];

// A logarithm that has a place for none.
const scaled = (count) => Math.log10(1 + count);
const unscaled = (value) => Math.round(10 ** value - 1);
const COUNTS = [0, 1, 10, 100, 1000];

function drawFailures(file, results) {
  const grids = PANELS.map((_, i) =>
    ({ left: 62 + 385 * (i % 2), top: 128 + 290 * Math.floor(i / 2), width: 330, height: 205 }));

  draw(file, {
    title: [
      heading('Failed reuses of idle connections, over how many are reused', 'POSTs to a backend that closes idle ' +
        'connections after 1 s. Best is the lower right corner.'),
      ...PANELS.map(({ title }, i) => subheading(title, grids[i])),
      source(results, 730),
    ],
    legend: legend(FAMILIES.map(({ name }) => name)),
    grid: grids,
    xAxis: PANELS.map((_, i) => ({
      ...axis(i, 'reuses answered, % of an oracle\'s'),
      min: 40,
      max: 104,
      axisLabel: { color: GREY, customValues: [40, 60, 80, 100] },
      axisTick: { customValues: [40, 60, 80, 100] },
      splitLine: { show: false },
    })),
    yAxis: PANELS.map((_, i) => ({
      ...axis(i, i % 2 ? '' : 'failures per 1000 reuses'),
      nameGap: 36,
      min: -0.45,
      max: 3,
      axisLabel: { color: GREY, customValues: COUNTS.map(scaled), formatter: unscaled },
      axisTick: { customValues: COUNTS.map(scaled) },
      splitLine: { show: false },
    })),
    series: PANELS.flatMap((panel, i) => [lines(i), ...FAMILIES.map((family) => points(family, panel, i, results))]),
  }, { width: WIDTH, height: 750 });
}

// ECharts has none at such values.
function lines(i) {
  return {
    type: 'line',
    xAxisIndex: i,
    yAxisIndex: i,
    data: [],
    markLine: {
      silent: true,
      symbol: 'none',
      label: { show: false },
      lineStyle: { color: '#e3e3e3', type: 'solid', width: 1 },
      data: COUNTS.map((count) => ({ yAxis: scaled(count) })),
    },
  };
}

function points({ title, name, symbol, color, label }, panel, i, { contenders }) {
  const shown = contenders.filter((one) => one.title === title && one.classes[panel.name]?.ofIdeal > 0);

  return {
    type: 'scatter',
    name,
    xAxisIndex: i,
    yAxisIndex: i,
    symbol,
    symbolSize: label ? 10 : 9,
    itemStyle: { color, opacity: 0.85 },
    data: shown.map(({ setting, classes: { [panel.name]: { ofIdeal, perThousand } } }) => ({
      value: [100 * ofIdeal, scaled(perThousand)],
      label: { show: Boolean(label), formatter: short(setting) },
    })),
    label: { position: label, color, fontSize: 11, distance: 4 },
    labelLayout: { moveOverlap: 'shiftX' },
  };
}

const short = (setting) => setting.replace(/keepalive_timeout |1s margin=/, '').replace('auto margin=100ms', 'auto')
  .replace(/(\d)(ms|s)$/, '$1 $2');

const LINES = [
  { contender: 'nginx, keepalive_timeout 60s', color: '#333333', type: 'solid' },
  { contender: 'nginx, keepalive_timeout 1s', color: '#1f6fb4', type: 'solid' },
  { contender: 'nginx, keepalive_timeout 750ms', color: '#d98200', type: 'solid' },
  { contender: 'nginx with the module, 1s margin=100ms', color: '#0a8f3c', type: 'solid' },
];

const AGES = [
  { name: 'blocked', title: 'Worker blocked for 0.7 s, every 1.5 s', from: 0, to: 1900, step: 100 },
  { name: '20 ms', title: '20 ms to the backend, one way', from: 900, to: 1100, step: 20 },
  { name: '50 ms', title: '50 ms to the backend, one way', from: 800, to: 1100, step: 20 },
];

function drawAges(file, results) {
  const top = [110, 375, 375];
  const grids = [
    { left: 62, top: top[0], width: 715, height: 185 },
    { left: 62, top: top[1], width: 330, height: 185 },
    { left: 447, top: top[2], width: 330, height: 185 },
  ];

  draw(file, {
    title: [
      heading('Failed requests, over the idle age of the connection', 'The backend closes connections at 1000 ms. ' +
        'The age is that at which the request is sent.'),
      ...AGES.map(({ title }, i) => subheading(title, grids[i])),
      source(results, 625),
    ],
    legend: { ...legend(LINES.map(({ contender }) => contender)), icon: 'rect', itemHeight: 3 },
    grid: grids,
    xAxis: AGES.map(({ from, to, step }, i) =>
      ({ ...axis(i, `idle age in ms, bins of ${step} ms`), min: from, max: to })),
    yAxis: AGES.map((_, i) => ({
      ...axis(i, i === 2 ? '' : '% of requests failed'),
      nameGap: 36,
      min: 0,
      max: 100,
      splitLine: { lineStyle: { color: '#e3e3e3' } },
    })),
    series: AGES.flatMap((panel, i) => LINES.map((line) => steps(line, panel, i, results))),
  }, { width: WIDTH, height: 645 });
}

function steps({ contender, color, type }, { name, from, to, step }, i, { contenders }) {
  const ages = contenders.find((one) => one.name === contender)?.classes[name]?.ages ?? {};
  const data = [];

  for (let begin = from; begin < to; begin += step) {
    const bins = Array.from({ length: step / BIN }, (_, k) => ages[begin + k * BIN] ?? [0, 0, 0]);
    const [reused, failed, fresh] = [0, 1, 2].map((which) => bins.reduce((sum, bin) => sum + bin[which], 0));
    const all = reused + failed + fresh;

    data.push([begin, all > 0 ? 100 * failed / all : null]);
  }

  data.push([to, data.at(-1)[1]]);

  return {
    type: 'line',
    name: contender,
    xAxisIndex: i,
    yAxisIndex: i,
    step: 'end',
    symbol: 'none',
    color,
    lineStyle: { width: 2.2, type },
    data,
  };
}

function axis(i, name) {
  return {
    type: 'value',
    gridIndex: i,
    name,
    nameLocation: 'middle',
    nameGap: 26,
    nameTextStyle: { color: '#222222' },
    axisLabel: { color: GREY },
    axisLine: { show: true, lineStyle: { color: GREY } },
    splitLine: { show: false },
  };
}

const legend = (data) => ({ data, top: 52, left: 10, itemGap: 14, textStyle: { color: '#222222' } });

const heading = (text, subtext) => ({
  text,
  subtext,
  left: 8,
  top: 4,
  itemGap: 5,
  textStyle: { fontSize: 17, color: '#111111' },
  subtextStyle: { fontSize: 12, color: '#444444' },
});

const subheading = (text, { left, top }) => ({
  text,
  left: left - 6,
  top: top - 24,
  textStyle: { fontSize: 13, fontWeight: 'bold', color: '#222222' },
});

const source = ({ machine: { date, cores, cpu, kernel }, versions }, top) => ({
  text: `make bench, ${date}: nginx ${versions.nginx}, ${cores} cores (${cpu}), ${kernel}`,
  left: 8,
  top,
  textStyle: { fontSize: 10, fontWeight: 'normal', color: GREY },
});

module.exports = { drawAges, drawFailures };
