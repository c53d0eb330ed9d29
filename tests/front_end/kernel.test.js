import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { BROWSER, openPage, pause } from './page.js';

// The page's own clock is replaced, so that four seconds take none
function open() {
  const page = openPage(BROWSER);
  const timers = new Map();
  page.window.setTimeout = mock.fn((run) => timers.set(timers.size + 1, run).size);
  page.window.clearTimeout = (id) => timers.delete(id);
  page.wait = () => [...timers].forEach(([id, run]) => timers.delete(id) && run());
  page.line = () => page.$('.beit3-waiting')?.textContent ?? '';
  return page;
}

async function start() {
  const page = open();
  const { readFileSync } = await import('node:fs');
  page.window.eval(readFileSync(new URL('../../beit3_colab/look/assets/browser_kernel.js', import.meta.url), 'utf8'));
  return page;
}

test('a click without an answer is told, until something comes', async () => {
  const page = await start();
  page.$('.beit3-next').click();
  assert.equal(page.window.setTimeout.mock.calls[0].arguments[1], 4000);
  assert.equal(page.line(), '');
  page.wait();
  assert.match(page.line(), /^No answer yet: the kernel is busy, or gone/);
  await pause(0);
  assert.match(page.line(), /^No answer yet/); // its own line is no answer
  page.$('.beit3-title').textContent = 'Another page';
  await pause(0);
  assert.equal(page.line(), '');
});

test('an answer in time leaves nothing to tell, even one that changes nothing', async () => {
  for (const answer of ['.beit3-status', '.beit3-title']) {
    const page = await start();
    page.$('.beit3-next').click();
    page.$(answer).classList.add('beit3-beat');
    await pause(0);
    page.wait();
    const told =
      answer === '.beit3-status' ? '' : 'No answer yet: the kernel is busy, or gone (then run the cell again).';
    assert.equal(page.line(), told, answer); // a button's own class is no answer
  }
});

test('a changed field waits for an answer too, a click on a text does not', async () => {
  const page = await start();
  page.$('.beit3-title').click();
  assert.equal(page.window.setTimeout.mock.callCount(), 0);
  page.$('#page').dispatchEvent(new page.window.Event('change', { bubbles: true }));
  page.wait();
  assert.match(page.line(), /^No answer yet/);
});

test('where the front end knows that the kernel is gone, that is said at once', async () => {
  const page = await start();
  page.$('.beit3-browse').classList.add('jupyter-widgets-disconnected');
  page.$('.beit3-next').click();
  assert.equal(page.line(), 'The kernel is gone: run the cell again.');
  assert.equal(page.$('.beit3-browse').lastElementChild.getAttribute('role'), 'status');
});
