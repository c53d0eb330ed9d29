import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROWSER, openPage, pause } from './page.js';

// jsdom finds parts without a title for [title="null"], so they are asked one by one
const titles = (page) =>
  [...page.document.querySelectorAll('.beit3-browse *')].filter((e) => e.getAttribute('title') === 'null').length;

test('no tooltip says null: at the start, when one is set again, in what is added', async () => {
  const page = openPage(BROWSER, 'browser_names.js');
  assert.equal(titles(page), 0);
  page.$('#two').setAttribute('title', 'null');
  const card = page.document.createElement('div');
  card.innerHTML = '<button title="null">Is it blue?</button>';
  page.$('.beit3-all').append(card);
  await pause(0);
  assert.equal(titles(page), 0);
});

test('other tooltips stay, and other parts of the page are left alone', async () => {
  const page = openPage(BROWSER, 'browser_names.js');
  page.$('#two').setAttribute('title', 'Open this answer');
  page.$('#elsewhere').setAttribute('title', 'null');
  await pause(0);
  assert.equal(page.$('#two').title, 'Open this answer');
  assert.equal(page.$('#elsewhere').title, 'null');
});

test('a browser that comes later is looked at, too', async () => {
  const page = openPage('<div id="cell"></div>', 'browser_names.js');
  page.$('#cell').innerHTML = BROWSER;
  await pause(0);
  assert.equal(titles(page), 0);
});

test('a range reads as one, whatever is written into it', async () => {
  const range = '<div class="beit3-browse"><div class="beit3-range"><div class="widget-readout">0-1</div></div></div>';
  const page = openPage(range, 'browser_names.js');
  const readout = page.$('.widget-readout');
  assert.equal(readout.textContent, '0 – 1');
  for (const [written, read] of [
    ['0.5-0.9999', '0.5 – 0.9999'],
    ['1e-05-1', '1e-05 – 1'],
    ['none', 'none'],
  ]) {
    readout.textContent = written;
    await pause(0);
    assert.equal(readout.textContent, read);
  }
});
