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

test('the line stands where one is looking: below the pointer or the field, inside browser and window', async () => {
  const page = await start();
  const at = (part, left, top, width, height) => {
    part.getBoundingClientRect = () => ({ left, top, width, height, right: left + width, bottom: top + height });
  };
  const line = async () => {
    await pause(50);
    return [page.$('.beit3-waiting').style.left, page.$('.beit3-waiting').style.top];
  };
  at(page.$('.beit3-browse'), 10, -2000, 800, 5000); // two thousand pixels of it are scrolled away
  at(page.$('.beit3-next'), 400, 300, 60, 28);
  page
    .$('.beit3-next')
    .dispatchEvent(new page.window.MouseEvent('click', { bubbles: true, detail: 1, clientX: 420, clientY: 310 }));
  assert.deepEqual(await line(), ['410px', '2326px']);
  page.$('#below').click(); // by a key
  page.$('.beit3-next').focus(); // as browser_keys.js does then
  assert.deepEqual(await line(), ['390px', '2332px']);
  at(page.$('#page'), 30, 760, 80, 28); // at the lower edge of the window
  page.$('#page').focus();
  page.$('#page').dispatchEvent(new page.window.Event('change', { bubbles: true }));
  assert.deepEqual(await line(), ['20px', `${page.window.innerHeight - 52 + 2000}px`]);
});

test('a card without its kernel is no button any more, and a click on it is told all the same', async () => {
  const page = await start();
  page.$('.beit3-card').click();
  assert.equal(page.line(), '');
  page.$('.beit3-browse').classList.add('jupyter-widgets-disconnected');
  page.$('.beit3-card').click();
  assert.equal(page.line(), 'The kernel is gone: run the cell again.');
});
