'use strict';

// Pictures of results, as SVG files. `make bench` puts ECharts where it is found here; without it there is no picture,
// and a run goes on.

const fs = require('node:fs');
const path = require('node:path');

const FONT = 'DejaVu Sans, Verdana, sans-serif';

// What all pictures have in common: legible on a page of any colour, whatever fonts the reader has.
const COMMON = {
  animation: false,
  backgroundColor: '#ffffff',
  textStyle: { fontFamily: FONT, color: '#222222' },
};

// For an option as ECharts knows it.
function draw(file, option, { width, height }) {
  const echarts = load();

  if (!echarts) {
    console.log(`not drawn, since ECharts is not to be had: ${path.basename(file)}`);
    return;
  }

  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });

  chart.setOption({ ...COMMON, ...option });

  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, chart.renderToSVGString());
  chart.dispose();
}

function load() {
  try {
    return require('echarts');
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') {
      return undefined;
    }

    throw error;
  }
}

module.exports = { draw };
