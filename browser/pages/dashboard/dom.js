/** Elements without a framework. Text is always set as text: what comes from a database never becomes markup. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [props] `class`, `on…` handlers, properties such as `value`, and attributes.
 * @param {...any} children Elements, text, or null.
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name in element && name !== 'list' && name !== 'form') Object.assign(element, { [name]: value });
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Tells people who do not see the page what happened. @param {string} text */
export function announce(text) {
  /** @type {HTMLElement} */ (document.getElementById('live')).textContent = text;
}

/** @param {any} error What went wrong, for people. */
export const reasonOf = (error) => error?.reason ?? error?.message ?? String(error);

/**
 * Runs what a button does: once at a time, with its error shown.
 *
 * @param {HTMLElement} notice
 * @param {(event: Event) => any} work
 */
export function action(notice, work) {
  return async (/** @type {Event} */ event) => {
    event.preventDefault();
    const { submitter, currentTarget } = /** @type {SubmitEvent} */ (event);
    const button = /** @type {HTMLButtonElement} */ (submitter ?? currentTarget);
    if (button.disabled) return;
    button.disabled = true;
    notice.textContent = '';
    try {
      await work(event);
    } catch (error) {
      notice.textContent = reasonOf(error);
    } finally {
      button.disabled = false;
    }
  };
}

/** 32 random digits; also where `crypto.randomUUID` is not there, which is every page that came by plain http. */
export const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @returns {HTMLElement} A place for errors. */
export const noticeBox = () => h('p', { class: 'notice bad', role: 'alert' });

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** @param {number} count */
export function bytes(count) {
  let unit = 0;
  for (; count >= 1000 && unit < UNITS.length - 1; unit++) count /= 1000;
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${UNITS[unit]}`;
}

export const number = new Intl.NumberFormat('en').format;
