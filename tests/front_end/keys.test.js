import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROWSER, openPage, pause, until } from './page.js';

const open = () => openPage(BROWSER, 'browser_keys.js');

function show({ $ }, detail) {
  $('.beit3-all').toggleAttribute('hidden', detail);
  $('.beit3-detail').toggleAttribute('hidden', !detail);
}

test('an arrow turns the page, and only in a browser', () => {
  const page = open();
  let turned = 0;
  page.$('.beit3-next').addEventListener('click', () => turned++);
  const event = page.press('ArrowRight', page.$('#one'));
  assert.equal(turned, 1);
  assert.ok(event.defaultPrevented);
  page.press('ArrowRight', page.$('#elsewhere'));
  page.press('ArrowRight', page.$('#page')); // in a field the arrow is the field's
  page.press('ArrowRight', page.$('#one'), { ctrlKey: true });
  page.press('ArrowLeft', page.$('#one')); // the first page: its button is disabled
  assert.equal(turned, 1);
  page.press('ArrowRight', page.$('#tick')); // a tick is no field
  assert.equal(turned, 2);
});

test('JupyterLab looks at no key that is pressed in a browser, but at Shift+Enter', () => {
  const { $, press } = open();
  press('d', $('#one'));
  assert.ok($('#one').hasAttribute('data-lm-suppress-shortcuts'));
  press('Enter', $('#one'), { shiftKey: true });
  assert.ok(!$('#one').hasAttribute('data-lm-suppress-shortcuts'));
});

test('what is opened comes into view, and the keyboard with it', async () => {
  const page = open();
  const { $, document, scrolled } = page;
  $('#two').focus();
  $('#two').click();
  show(page, true);
  await until(() => document.activeElement === $('.beit3-back'));
  assert.deepEqual(scrolled, [[$('.beit3-title'), 'nearest']]);
});

test('Escape returns to the card that was opened, in its place', async () => {
  const page = open();
  const { $, document, scrolled, press } = page;
  $('#two').focus();
  $('#two').click();
  show(page, true);
  await until(() => document.activeElement === $('.beit3-back'));
  $('.beit3-back').addEventListener('click', () => show(page, false));
  press('Escape', $('.beit3-back'));
  await until(() => document.activeElement === $('#two'));
  assert.deepEqual(scrolled.at(-1), [$('#two'), 'center']);
});

test('a card that was opened again at once is returned to again', async () => {
  const page = open();
  const { $, document } = page;
  $('.beit3-back').addEventListener('click', () => show(page, false));
  for (const time of ['first', 'second', 'third']) {
    $('#two').focus();
    $('#two').click();
    show(page, true);
    await until(() => document.activeElement === $('.beit3-back'));
    $('.beit3-back').click();
    await pause(120);
    assert.equal(document.activeElement, $('#two'), time);
  }
});

test('after steps from answer to answer the card of the last one is returned to, though it is marked late', async () => {
  const page = open();
  const { $, document, scrolled } = page;
  $('#two').focus();
  $('#two').click();
  show(page, true);
  await until(() => document.activeElement === $('.beit3-back'));
  $('.beit3-back').click();
  show(page, false);
  await until(() => document.activeElement === $('#two'));
  $('#one').parentElement.classList.add('beit3-return');
  await until(() => document.activeElement === $('#one'));
  assert.deepEqual(scrolled.at(-1), [$('#one'), 'center']);
});

test('who went on meanwhile is not fetched back', async () => {
  const page = open();
  const { $, document } = page;
  $('#two').focus();
  $('#two').click();
  $('#elsewhere').focus();
  show(page, true);
  await pause(150);
  assert.equal(document.activeElement, $('#elsewhere'));
});

test('a page turned below is shown from its top', () => {
  const { $, document, scrolled } = open();
  $('#below').focus();
  $('#below').click();
  assert.deepEqual(scrolled, [[$('.beit3-pages'), 'start']]);
  assert.equal(document.activeElement, $('.beit3-next'));
});

test('a tick is called by its question', () => {
  const { $, document } = open();
  $('#one').focus();
  const names = $('#tick')
    .getAttribute('aria-labelledby')
    .split(' ')
    .map((id) => document.getElementById(id).textContent);
  assert.deepEqual(names, ['pick', 'Is it red?']);
});

test('the script installs itself once', () => {
  const page = openPage(BROWSER, 'browser_keys.js', 'browser_keys.js');
  let turned = 0;
  page.$('.beit3-next').addEventListener('click', () => turned++);
  page.press('ArrowRight', page.$('#one'));
  assert.equal(turned, 1);
});
