// A page with some browsers in it, on which the scripts run. jsdom lays nothing out: what is shown is told by `hidden`.
import { readFileSync } from 'node:fs';
import { after } from 'node:test';
import { JSDOM } from 'jsdom';

const ASSETS = new URL('../../beit3_colab/look/assets/', import.meta.url);

/** A page with this body on which scripts of `look/assets` run; `scrolled` lists what was brought into view, and where to. */
export function openPage(body, ...scripts) {
  const { window } = new JSDOM(`<body>${body}</body>`, { runScripts: 'outside-only', pretendToBeVisual: true });
  after(() => window.close()); // else its timers go on for seconds, and Node waits for them
  const scrolled = [];
  Object.defineProperty(window.HTMLElement.prototype, 'offsetParent', {
    get() {
      return this.isConnected && !this.closest('[hidden]') ? window.document.body : null;
    },
  });
  window.Element.prototype.scrollIntoView = function (options) {
    scrolled.push([this, options.block]);
  };
  for (const name of scripts) window.eval(readFileSync(new URL(name, ASSETS), 'utf8'));
  const { document } = window;
  const $ = (selector) => document.querySelector(selector);
  const press = (key, target, more = {}) => {
    const event = new window.KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more });
    target.dispatchEvent(event);
    return event;
  };
  return { window, document, scrolled, $, press };
}

/** Wait for some milliseconds. */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Wait until something holds; fails after a second. */
export async function until(holds) {
  for (let i = 0; i < 100; i++) {
    if (holds()) return;
    await pause(10);
  }
  throw new Error(`never came true: ${holds}`);
}

/** A browser of answers as ipywidgets draws it, cut down to what scripts look at. */
export const BROWSER = `
<div class="beit3-browse">
  <div class="beit3-title">A run</div>
  <div class="beit3-status"></div>
  <div class="beit3-all">
    <div class="beit3-pages">
      <button class="beit3-previous" disabled>Previous</button>
      <div class="beit3-page"><input id="page" type="number"></div>
      <button class="beit3-next">Next</button>
    </div>
    <div class="beit3-card"><button class="beit3-question" id="one" title="null">Is it red?</button>
      <div class="beit3-tick"><label><input type="checkbox" id="tick"><span>pick</span></label></div></div>
    <div class="beit3-card"><button class="beit3-question" id="two">How many?</button></div>
    <div class="beit3-below"><button class="beit3-next-below" id="below">Next</button></div>
  </div>
  <div class="beit3-detail" hidden><button class="beit3-back">Back</button><button class="beit3-next-answer">Next</button></div>
</div>
<input id="elsewhere">`;
