// The script that copies, on a page of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openPage, pause } from './page.js';

const PAGE = `
<div class="beit3-browse">
  <div id="view"><button class="beit3-copy" id="code">Copy as code</button><code>run.browse(words='is')</code></div>
  <button class="beit3-copy" id="id" data-copy="152003">copy</button>
</div>
<button class="beit3-copy" id="foreign" data-copy="x">copy</button>`;

// `copied` are the texts that came to the clipboard; where `works` is false there is none
function open({ works = true, command = false } = {}) {
  const page = openPage(PAGE, 'browser_copy.js');
  page.copied = [];
  const writeText = async (text) => {
    if (!works) throw new Error('not allowed');
    page.copied.push(text);
  };
  Object.defineProperty(page.window.navigator, 'clipboard', { value: { writeText } });
  page.window.document.execCommand = () => {
    const field = page.$('textarea'); // select() of jsdom does not focus
    if (command) page.copied.push(field.value.slice(field.selectionStart, field.selectionEnd));
    return command;
  };
  page.click = async (selector) => {
    page.$(selector).click();
    await pause(0);
  };
  return page;
}

test('a button copies its own text, or the text beside it', async () => {
  const page = open();
  await page.click('#id');
  await page.click('#code');
  assert.deepEqual(page.copied, ['152003', "run.browse(words='is')"]);
  assert.equal(page.$('#code').textContent, '✓ copied');
});

test('the name of the button comes back, also after two clicks', async () => {
  const page = open();
  page.window.setTimeout = (run) => (page.later = run);
  await page.click('#code');
  await page.click('#code');
  assert.equal(page.$('#code').textContent, '✓ copied');
  page.later();
  assert.equal(page.$('#code').textContent, 'Copy as code');
});

test('where there is no clipboard, the selection is copied, and the keyboard stays', async () => {
  const page = open({ works: false, command: true });
  page.$('#id').focus();
  await page.click('#id');
  assert.deepEqual(page.copied, ['152003']);
  assert.equal(page.document.activeElement, page.$('#id'));
  assert.equal(page.document.querySelectorAll('textarea').length, 0);
});

test('where nothing helps, the text is marked and the key is told', async () => {
  const page = open({ works: false });
  await page.click('#code');
  assert.equal(page.$('#code').textContent, 'press Ctrl+C');
  assert.equal(page.window.getSelection().toString(), "run.browse(words='is')");
});

test('buttons of others are left alone', async () => {
  const page = open();
  await page.click('#foreign');
  assert.deepEqual(page.copied, []);
});
