/** Small plots of a rate: the last minute, a value each second or so. */

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 120;
const HEIGHT = 28;

/** Values kept: a minute, at one each second. */
const KEPT = 60;

export class Plot {
  /** @param {string} label What it shows. @param {(value: number) => string} format */
  constructor(label, format) {
    this.label = label;
    this.format = format;
    /** @type {number[]} */
    this.values = [];
    this.element = document.createElementNS(SVG, 'svg');
    this.element.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute('class', 'plot');
    this.element.setAttribute('role', 'img');
    this.area = this.element.appendChild(document.createElementNS(SVG, 'path'));
    this.line = this.element.appendChild(document.createElementNS(SVG, 'polyline'));
    this.area.setAttribute('class', 'area');
    this.line.setAttribute('class', 'line');
    this.draw();
  }

  /** @param {number} value */
  push(value) {
    this.values = [...this.values, value].slice(-KEPT);
    this.draw();
  }

  draw() {
    const most = Math.max(1, ...this.values);
    const x = (/** @type {number} */ n) => WIDTH - 1 - (this.values.length - 1 - n) * ((WIDTH - 2) / (KEPT - 1));
    const y = (/** @type {number} */ value) => HEIGHT - 2 - (value / most) * (HEIGHT - 5);
    const points = this.values.map((value, n) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`);
    this.line.setAttribute('points', points.join(' '));
    this.area.setAttribute(
      'd',
      points.length ? `M${x(0).toFixed(1)},${HEIGHT} L${points.join(' L')} L${WIDTH - 1},${HEIGHT}z` : '',
    );
    const now = this.values.at(-1) ?? 0;
    this.element.setAttribute(
      'aria-label',
      `${this.label}: now ${this.format(now)}, at most ${this.format(this.values.length ? Math.max(...this.values) : 0)} in the last minute`,
    );
  }
}

/** The rate of a counter that is read now and then. */
export class Rate {
  /** @param {() => number} clock Milliseconds. */
  constructor(clock = () => performance.now()) {
    this.clock = clock;
    /** @type {{ at: number, count: number } | null} */
    this.last = null;
  }

  /** @param {number} count @returns {number} Per second since the last call. */
  read(count) {
    const at = this.clock();
    const rate =
      this.last === null || count < this.last.count
        ? 0
        : (count - this.last.count) / Math.max(0.001, (at - this.last.at) / 1000);
    this.last = { at, count };
    return rate;
  }
}
