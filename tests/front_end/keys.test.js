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

const FILTERED = BROWSER.replace(
  '<div class="beit3-pages">',
  `<div class="beit3-words"><input id="words"></div>
  <div class="beit3-bar beit3-active-filter-row">
    ${['a', 'b', 'c'].map((id) => `<button class="jupyter-button beit3-active-filter" id="${id}">${id} ×</button>`).join('')}
  </div>
  <div class="beit3-bar beit3-remedy-row"><button class="jupyter-button" id="remedy">without a: 3</button></div>
  <div class="beit3-bar beit3-picks">
    <button class="jupyter-button beit3-pick-all" id="all">Pick all</button>
    <button class="jupyter-button beit3-pick-none" id="none">Clear picks</button>
    <div class="beit3-tagging"><div class="beit3-pick-tag"><input id="tag"></div>
      <button class="jupyter-button beit3-tag-add" id="add">Add tag</button></div>
  </div><div class="beit3-pages">`,
);

test('a chip that is gone leaves the keyboard to its neighbour, the last one to the search', async () => {
  const { $, document } = openPage(FILTERED, 'browser_keys.js');
  $('.beit3-next').focus();
  $('.beit3-next').click(); // is still followed when the chips are pressed
  for (const [pressed, next] of [
    ['#c', '#b'], // what stood before it
    ['#a', '#b'],
    ['#b', '#words'],
    ['#remedy', '#words'],
  ]) {
    $(pressed).focus();
    $(pressed).click();
    $(pressed).hidden = true;
    await until(() => document.activeElement === $(next));
  }
});

test('after “Clear picks” the keyboard is at “Pick all”', async () => {
  const { $, document } = openPage(FILTERED, 'browser_keys.js');
  $('#none').focus();
  $('#none').click();
  for (const part of [$('#none'), $('.beit3-tagging')]) part.hidden = true;
  await until(() => document.activeElement === $('#all'));
});

test('Enter in the field for a tag adds it; not while a word is composed, and not in other fields', () => {
  const { $, press } = openPage(FILTERED, 'browser_keys.js');
  let added = 0;
  $('#add').addEventListener('click', () => added++);
  assert.ok(press('Enter', $('#tag')).defaultPrevented);
  assert.equal(added, 1);
  press('Enter', $('#tag'), { isComposing: true });
  press('Enter', $('#words'));
  press('a', $('#tag'));
  assert.equal(added, 1);
});

test('the script installs itself once', () => {
  const page = openPage(BROWSER, 'browser_keys.js', 'browser_keys.js');
  let turned = 0;
  page.$('.beit3-next').addEventListener('click', () => turned++);
  page.press('ArrowRight', page.$('#one'));
  assert.equal(turned, 1);
});

test('names are written only where they are others, and follow what changes', async () => {
  const slider = `<div class="beit3-slider"><label class="widget-label">Layers</label>
    <div role="slider"></div><div class="widget-readout">3</div></div>`;
  const page = openPage(
    BROWSER.replace('<div class="beit3-all">', `${slider}<div class="beit3-all">`),
    'browser_keys.js',
  );
  const { $, window } = page;
  let written = 0;
  const write = window.Element.prototype.setAttribute;
  window.Element.prototype.setAttribute = function (...given) {
    written++;
    return write.apply(this, given);
  };
  $('.beit3-next').focus();
  $('.beit3-next').click();
  assert.equal($('[role=slider]').getAttribute('aria-valuetext'), '3');
  const before = written;
  await pause(300); // it looks every 50 ms where the keyboard is
  assert.equal(written, before);
  $('.widget-readout').textContent = '4';
  await pause(0);
  assert.equal($('[role=slider]').getAttribute('aria-valuetext'), '4');
  assert.equal(written, before + 1);
  const card = page.document.createElement('div');
  card.innerHTML = `<div class="beit3-card"><button class="beit3-question">Why?</button>
    <div class="beit3-tick"><label><input type="checkbox" id="late"><span>pick</span></label></div></div>`;
  $('.beit3-all').append(card);
  await pause(0);
  assert.ok($('#late').hasAttribute('aria-labelledby'));
});
