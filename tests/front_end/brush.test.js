// The script that draws over bars, in a page of its own without JupyterLab.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { JSDOM } from 'jsdom';

const script = readFileSync(new URL('../../beit3_colab/look/assets/browser_brush.js', import.meta.url), 'utf8');

// Four bars of ten pixels each; jsdom lays nothing out, so places are told
function open() {
  const bars = [0, 1, 2, 3].map((i) => `<button class="beit3-bar-button" id="b${i}">${i}</button>`).join('');
  const { window } = new JSDOM(
    `<div class="beit3-browse"><div class="beit3-brushed"><div class="beit3-bar-buttons">${bars}</div>
     <div class="beit3-brush"><input></div></div>
     <button class="beit3-active-filter" id="chip">answer: yes ×</button>
     <div class="beit3-range"><label class="widget-label">Confidence</label>
     <div class="noUi-handle" tabindex="0" id="low"></div><div class="noUi-handle" id="high"></div>
     <div class="widget-readout">0.5-1</div></div></div>`,
    { runScripts: 'outside-only' },
  );
  const { document } = window;
  Object.defineProperty(window.HTMLElement.prototype, 'offsetParent', { get: () => document.body });
  document.querySelectorAll('.beit3-bar-button').forEach((bar, i) => {
    bar.getBoundingClientRect = () => ({ left: 10 * i, right: 10 * (i + 1) });
  });
  window.eval(script);
  const at = (id) => document.getElementById(id);
  const mouse = (kind, target, x, button = 0) =>
    target.dispatchEvent(new window.MouseEvent(kind, { bubbles: true, cancelable: true, clientX: x, button }));
  const sent = [];
  document.querySelector('input').addEventListener('change', (e) => sent.push(e.target.value));
  return { window, document, at, mouse, sent };
}

test('drawing from one bar to another tells the first and the last', () => {
  const { document, at, mouse, sent } = open();
  mouse('pointerdown', at('b2'), 25);
  mouse('pointermove', at('b1'), 12);
  assert.equal(document.querySelectorAll('.beit3-drawing').length, 2);
  mouse('pointermove', document.body, -5); // beyond the first
  mouse('pointerup', document.body, -5);
  assert.deepEqual(sent, ['2 0 1']);
  assert.equal(document.querySelectorAll('.beit3-drawing').length, 0);
});

test('the same bars may be drawn over twice, and there and back again is one bar', () => {
  const { at, mouse, sent } = open();
  for (const end of ['b3', 'b3', 'b1']) {
    mouse('pointerdown', at('b1'), 15);
    mouse('pointermove', at('b3'), 35);
    mouse('pointermove', at(end), end === 'b3' ? 35 : 15);
    mouse('pointerup', at(end), 15);
  }
  assert.deepEqual(sent, ['1 3 1', '1 3 2', '1 1 3']);
});

test('a click is the button’s own, another mouse button draws nothing', () => {
  const { at, mouse, sent } = open();
  let clicks = 0;
  at('b1').addEventListener('click', () => (clicks += 1));
  mouse('pointerdown', at('b1'), 15);
  mouse('pointerup', at('b1'), 15);
  at('b1').click();
  mouse('pointerdown', at('b1'), 15, 2);
  mouse('pointermove', at('b3'), 35);
  mouse('pointerup', at('b3'), 35);
  assert.deepEqual([clicks, sent], [1, []]);
});

test('the click that ends a drawing presses no bar, Escape ends a drawing', async () => {
  const { window, at, mouse, sent } = open();
  let clicks = 0;
  at('b1').addEventListener('click', () => (clicks += 1));
  mouse('pointerdown', at('b1'), 15);
  mouse('pointermove', at('b2'), 25);
  mouse('pointermove', at('b1'), 15);
  mouse('pointerup', at('b1'), 15);
  at('b1').click();
  assert.equal(clicks, 0);
  await new Promise((resolve) => setTimeout(resolve, 5));
  at('b1').click();
  assert.equal(clicks, 1);
  mouse('pointerdown', at('b1'), 15);
  mouse('pointermove', at('b2'), 25);
  at('b1').dispatchEvent(new window.KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  mouse('pointerup', at('b2'), 25);
  assert.equal(sent.length, 1);
});

test('Delete takes a chip away, other keys do not', () => {
  const { window, at } = open();
  let clicks = 0;
  at('chip').addEventListener('click', () => (clicks += 1));
  for (const key of ['Delete', 'Backspace', 'x', 'ArrowLeft']) {
    at('chip').dispatchEvent(new window.KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  }
  assert.equal(clicks, 2);
});

test('both ends of the range have a name and tell the value', () => {
  const { at } = open();
  at('low').focus();
  const told = ['low', 'high'].map((end) => [
    at(end).getAttribute('aria-label'),
    at(end).getAttribute('aria-valuetext'),
  ]);
  assert.deepEqual(told, [
    ['Confidence from', '0.5-1'],
    ['Confidence to', '0.5-1'],
  ]);
});

test('installed twice it works once', () => {
  const { window, at, mouse, sent } = open();
  window.eval(script);
  mouse('pointerdown', at('b0'), 5);
  mouse('pointermove', at('b1'), 15);
  mouse('pointerup', at('b1'), 15);
  assert.equal(sent.length, 1);
});
